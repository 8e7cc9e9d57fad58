(SELECT json_build_array(p.data, p.error)::text FROM log_payload AS p
 WHERE p.recorded_at = e.recorded_at AND p.seq = e.seq)
