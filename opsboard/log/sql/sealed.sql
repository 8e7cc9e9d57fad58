-- A range of the log as it stands now: its numbers, and 64 bytes per event. One row, whatever the number of events.
SELECT coalesce(array_agg(e.seq ORDER BY e.seq), '{}'), coalesce(string_agg(/* ENTRY */, ''::bytea ORDER BY e.seq), '')
FROM log_event AS e
WHERE e.seq BETWEEN %(first)s AND %(last)s
