-- One batch into the log: events, payloads. $1 is a JSON array of Entry.row(). The identity decides what is new.
-- Rows are written in the order of their keys, in every statement of the log: writers never wait in a circle.
WITH incoming AS (
    SELECT * FROM jsonb_to_recordset(%(batch)s::jsonb) AS item (
        id uuid, source text, external_id text, type text, digest text, kind text, flow text, transaction_id uuid,
        key text, status text, system text, entity text, attempt int, amount numeric(18, 2), currency text,
        latency_ms int, actor text, correlation text, objects_named jsonb, refs uuid[], facts jsonb,
        occurred_at timestamptz, received_at timestamptz, data jsonb, error jsonb)
), fresh AS (
    INSERT INTO log_event (
        id, source, external_id, type, digest, kind, flow, transaction_id, key, status, system, entity, attempt, amount,
        currency, latency_ms, actor, correlation, objects_named, refs, facts, occurred_at, received_at)
    SELECT id, source, external_id, type, decode(digest, 'hex'), kind, flow, transaction_id, key, status, system,
           entity, attempt, amount, currency, latency_ms, actor, correlation, objects_named, refs, facts,
           occurred_at, received_at
    FROM incoming ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), payloads AS (
    INSERT INTO log_payload (seq, recorded_at, data, error)
    SELECT fresh.seq, fresh.recorded_at, nullif(incoming.data, 'null'), nullif(incoming.error, 'null')
    FROM fresh JOIN incoming USING (id)
    WHERE nullif(incoming.data, 'null') IS NOT NULL OR nullif(incoming.error, 'null') IS NOT NULL
), /* PROJECT */
SELECT id, transaction_id FROM fresh
