"""A billing job that knows OpenTelemetry and nothing of opsboard; its exporter finds the way in its environment."""

from contextlib import suppress

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer


class PeriodClosed(Exception):
    """What the ERP says in the second half of the month."""


def bill(tracer: Tracer, number: int, project: str, *, closed: bool) -> None:
    """Post one invoice; the first attempt always meets a busy ERP."""
    said = {
        "opsboard.flow": "time-to-billing",
        "opsboard.key": f"{project}/2026-10",
        "opsboard.object.project": f"psa/{project}",
        "opsboard.object.project.name": "Rollout",
        "opsboard.object.invoice": f"erp/INV-{number}",
        "opsboard.entity": "DE01",
        "opsboard.amount": "1250.50",
        "opsboard.currency": "EUR",
    }
    with tracer.start_as_current_span("bill project", attributes=said):
        for attempt in range(2):
            sent = {"peer.service": "erp", "http.response.status_code": 503 if attempt == 0 else 201}
            with tracer.start_as_current_span("POST /invoices", kind=SpanKind.CLIENT, attributes=sent) as call:
                if attempt == 0:
                    call.set_status(Status(StatusCode.ERROR, "busy"))
        with tracer.start_as_current_span("compute tax"):
            pass
        if closed:
            raise PeriodClosed("The posting period 2026-10 is closed.")


def main() -> None:
    """Bill two projects; the second one's period is closed."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("billing")
    bill(tracer, 1, "P-1", closed=False)
    with suppress(PeriodClosed):
        bill(tracer, 2, "P-2", closed=True)
    provider.shutdown()


if __name__ == "__main__":
    main()
