"""What Django's models cannot say: the log refuses changes, and payloads are partitioned by month."""

from django.db import migrations

APPEND_ONLY = """
CREATE FUNCTION log_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- restoring an archive or clearing a test database says so first, in its own database transaction
    IF current_setting('opsboard.maintenance', true) = 'on' THEN
        RETURN coalesce(NEW, OLD);
    END IF;
    RAISE EXCEPTION 'the log is append-only: % on log_event refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER log_event_append_only BEFORE UPDATE OR DELETE ON log_event
    FOR EACH ROW EXECUTE FUNCTION log_append_only();
CREATE TRIGGER log_event_no_truncate BEFORE TRUNCATE ON log_event
    FOR EACH STATEMENT EXECUTE FUNCTION log_append_only();
"""
PAYLOAD = """
CREATE TABLE log_payload (
    seq bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    data jsonb,
    error jsonb,
    PRIMARY KEY (recorded_at, seq)  -- log.queries.payload: by the event's own recorded_at, so one partition is read
) PARTITION BY RANGE (recorded_at);
CREATE TABLE log_payload_default PARTITION OF log_payload DEFAULT;
"""


class Migration(migrations.Migration):
    dependencies = [("log", "0001_initial")]
    operations = [
        migrations.RunSQL(
            APPEND_ONLY,
            "DROP TRIGGER log_event_append_only ON log_event; DROP TRIGGER log_event_no_truncate ON log_event;"
            "DROP FUNCTION log_append_only();",
        ),
        migrations.RunSQL(PAYLOAD, "DROP TABLE log_payload"),
    ]
