-- From new events (the relation `fresh`) to objects, links, threads of one, and transactions. Every merge below is
-- commutative and idempotent per event: any order of arrival, any split into batches gives the same rows. The same
-- text serves the append and the rebuild.
named AS (
    SELECT fresh.refs[place] AS id, item ->> 1 AS type, place = 1 AS subject, fresh.id AS event_id, fresh.occurred_at,
           item ->> 0 AS system, item ->> 2 AS external_id, coalesce(item ->> 4, '') AS name,
           (%(ranks)s::jsonb ->> (item ->> 1))::int AS rank
    FROM fresh CROSS JOIN LATERAL jsonb_array_elements(fresh.objects_named) WITH ORDINALITY AS j (item, place)
), objects AS (
    -- The name of the latest day wins, of equal days the greater name: the order of arrival does not matter, and an
    -- object that comes again under its name is left alone. By the second, every event would write to the hottest
    -- rows and writers would queue for them. What stays is left out before the conflict: a conflict locks its row
    INSERT INTO log_object AS known (id, system, type, external_id, name, named_on)
    SELECT latest.* FROM (
        SELECT DISTINCT ON (id) id, system, type, external_id, name, named_on FROM (
            SELECT *, CASE WHEN name <> '' THEN (occurred_at AT TIME ZONE 'UTC')::date END AS named_on FROM named
        ) AS dated ORDER BY id, named_on DESC NULLS LAST, name DESC
    ) AS latest LEFT JOIN log_object AS present USING (id)
    WHERE present.id IS NULL OR (latest.name <> '' AND (
        present.named_on IS NULL OR (latest.named_on, latest.name) > (present.named_on, present.name)))
    ORDER BY latest.id
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, named_on = excluded.named_on
    WHERE excluded.name <> ''
      AND (known.named_on IS NULL OR (excluded.named_on, excluded.name) > (known.named_on, known.name))
), binders AS (
    -- an engagement object is a thread of its own until correlate() joins it to others
    INSERT INTO log_membership (thread_id, object_id)
    SELECT DISTINCT id, id FROM named
    WHERE rank = 0 AND NOT EXISTS (SELECT 1 FROM log_membership AS m WHERE m.object_id = named.id)
    ORDER BY id
    ON CONFLICT DO NOTHING RETURNING object_id
), alone AS (
    -- and says so to correlate(): should it have been joined to others in this very moment, that is noticed
    INSERT INTO log_link (a, b, binds, pending)
    SELECT object_id, object_id, true, true FROM binders ORDER BY object_id
    ON CONFLICT (a, b) DO UPDATE SET pending = true
), pairs AS (
    -- star shaped: the subject with every other object of its event; and where an event names one engagement object
    -- only, that one with every document
    SELECT x.id AS x, x.rank AS x_rank, x.type AS x_type, x.system AS x_system,
           y.id AS y, y.rank AS y_rank, y.type AS y_type, y.system AS y_system
    FROM (
        SELECT *, rank = 0 AND count(*) FILTER (WHERE rank = 0) OVER (PARTITION BY event_id) = 1 AS sole FROM named
    ) AS x
    JOIN named AS y USING (event_id)
    WHERE (x.subject OR x.sole) AND x.id <> y.id AND x.rank IS NOT NULL AND y.rank IS NOT NULL
), links AS (
    INSERT INTO log_link (a, b, binds, pending)
    SELECT DISTINCT a, b, binds, true FROM (
        SELECT x AS a, y AS b, x_rank = 0 AND y_rank = 0 AS binds FROM pairs
        WHERE x_rank < y_rank OR (x_rank = 0 AND y_rank = 0)
           OR (x_rank = y_rank AND x_type = y_type AND x_system <> y_system)  -- one document, named by two systems
        UNION ALL
        SELECT y, x, x_rank = 0 AND y_rank = 0 FROM pairs
        WHERE y_rank < x_rank OR (x_rank = 0 AND y_rank = 0)
           OR (x_rank = y_rank AND x_type = y_type AND x_system <> y_system)
    ) AS directed
    ORDER BY a, b
    ON CONFLICT DO NOTHING
), heads AS (
    -- what each transaction gets from this batch: its decisive event, its latest amount, its first event
    SELECT transaction_id AS id, min(flow) AS flow, min(key) AS key, max(entity) AS entity,
           count(*) AS events, count(*) FILTER (WHERE status = 'failed') AS failures,
           min(occurred_at) AS first_at, max(occurred_at) AS last_at,
           (array_agg(fresh.id ORDER BY occurred_at, fresh.id))[1] AS first_event,
           (array_agg(refs[1] ORDER BY occurred_at, fresh.id))[1] AS subject_id,
           (array_agg(fresh.id ORDER BY attempt DESC, occurred_at DESC, (%(kinds)s::jsonb ->> kind)::int DESC, fresh.id DESC)
               FILTER (WHERE status <> ''))[1] AS head_event,
           (array_agg(fresh.id ORDER BY occurred_at DESC, fresh.id DESC)
               FILTER (WHERE amount IS NOT NULL))[1] AS money_event
    FROM fresh
    WHERE transaction_id IS NOT NULL
    GROUP BY transaction_id
), touched AS (
    INSERT INTO log_transaction AS t (
        id, flow, key, subject_id, entity, status, attempt, head_at, head_rank, head_event, amount, currency,
        money_at, money_event, first_at, first_event, last_at, events, failures)
    SELECT heads.id, heads.flow, heads.key, heads.subject_id, heads.entity,
           coalesce(head.status, 'pending'), coalesce(head.attempt, 0), head.occurred_at,
           coalesce((%(kinds)s::jsonb ->> head.kind)::int, 0), heads.head_event,
           money.amount, coalesce(money.currency, ''), money.occurred_at, heads.money_event,
           heads.first_at, heads.first_event, heads.last_at, heads.events, heads.failures
    FROM heads
    LEFT JOIN fresh AS head ON head.id = heads.head_event
    LEFT JOIN fresh AS money ON money.id = heads.money_event
    ORDER BY heads.id
    ON CONFLICT (id) DO UPDATE SET
        (status, attempt, head_at, head_rank, head_event) = (
            SELECT CASE WHEN newer THEN excluded.status ELSE t.status END,
                   CASE WHEN newer THEN excluded.attempt ELSE t.attempt END,
                   CASE WHEN newer THEN excluded.head_at ELSE t.head_at END,
                   CASE WHEN newer THEN excluded.head_rank ELSE t.head_rank END,
                   CASE WHEN newer THEN excluded.head_event ELSE t.head_event END
            FROM (SELECT excluded.head_event IS NOT NULL AND (t.head_event IS NULL OR
                (excluded.attempt, excluded.head_at, excluded.head_rank, excluded.head_event)
                > (t.attempt, t.head_at, t.head_rank, t.head_event)) AS newer) AS compared),
        (amount, currency, money_at, money_event) = (
            SELECT CASE WHEN newer THEN excluded.amount ELSE t.amount END,
                   CASE WHEN newer THEN excluded.currency ELSE t.currency END,
                   CASE WHEN newer THEN excluded.money_at ELSE t.money_at END,
                   CASE WHEN newer THEN excluded.money_event ELSE t.money_event END
            FROM (SELECT excluded.money_event IS NOT NULL AND (t.money_event IS NULL OR
                (excluded.money_at, excluded.money_event) > (t.money_at, t.money_event)) AS newer) AS compared),
        subject_id = CASE WHEN (excluded.first_at, excluded.first_event) < (t.first_at, t.first_event)
            THEN excluded.subject_id ELSE t.subject_id END,
        first_event = CASE WHEN (excluded.first_at, excluded.first_event) < (t.first_at, t.first_event)
            THEN excluded.first_event ELSE t.first_event END,
        first_at = least(t.first_at, excluded.first_at),
        last_at = greatest(t.last_at, excluded.last_at),
        entity = greatest(t.entity, excluded.entity),
        events = t.events + excluded.events,
        failures = t.failures + excluded.failures
)
