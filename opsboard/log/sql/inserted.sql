-- Events below the mark that no block holds: how many, and the first. Nothing can be recorded there any more.
WITH held AS (
    SELECT range_agg(members::int8multirange) AS sealed FROM log_block
)
SELECT count(*), min(e.seq) FROM log_event AS e
WHERE e.seq <= %(mark)s AND NOT e.seq <@ (SELECT sealed FROM held)
