-- A range of the log projected again: what rebuild does, range by range.
WITH fresh AS (
    SELECT * FROM log_event WHERE seq > %(after)s AND seq <= %(upto)s
), /* PROJECT */
SELECT count(*) FROM fresh
