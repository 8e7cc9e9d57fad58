-- Events that no block holds: how many stand below the mark, where nothing can be recorded any more, the first of
-- them, and how many above it wait to be sealed.
WITH held AS (
    SELECT coalesce(range_agg(members::int8multirange), '{}') AS sealed FROM log_block
)
SELECT count(*) FILTER (WHERE e.seq <= %(mark)s), min(e.seq) FILTER (WHERE e.seq <= %(mark)s),
       count(*) FILTER (WHERE e.seq > %(mark)s)
FROM log_event AS e
WHERE NOT e.seq <@ (SELECT sealed FROM held)
