-- Events that no block holds yet, in order, with what a block keeps of each. Below the mark everything is sealed.
WITH above AS (
    SELECT coalesce(range_agg(members::int8multirange), '{}') AS sealed FROM log_block WHERE last > %(mark)s
)
SELECT e.seq, /* ENTRY */
FROM log_event AS e
WHERE e.seq > %(mark)s AND NOT e.seq <@ (SELECT sealed FROM above)
ORDER BY e.seq
LIMIT %(limit)s
