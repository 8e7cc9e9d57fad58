-- The bytes of events and payloads as they were hashed, for an auditor's bundle.
SELECT e.seq, /* ROW */, /* PAYLOAD */ FROM log_event AS e WHERE e.seq = ANY(%(seqs)s) ORDER BY e.seq
