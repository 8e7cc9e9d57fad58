"""A Celery worker that posts invoices with httpx, instrumented by the packages of OpenTelemetry and nothing else.

It carries its own ERP: project P-2 is refused, and the first invoice of P-3 meets a busy server and is retried.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
from celery import Celery
from celery.contrib.testing.worker import start_worker
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

app = Celery("billing", broker="memory://", backend="cache+memory://")
app.conf.worker_hijack_root_logger = False
busy = {"P-3"}


class Erp(BaseHTTPRequestHandler):
    """Takes invoices."""

    def do_POST(self) -> None:
        """Refuse P-2, be busy once for P-3, take the rest."""
        project = self.path.rpartition("/")[2]
        self.rfile.read(int(self.headers["Content-Length"]))
        status = 422 if project == "P-2" else 503 if project in busy else 201
        busy.discard(project)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *said: Any) -> None:
        """Say nothing."""


@app.task(bind=True, max_retries=2, name="post_invoice")
def post_invoice(self: Any, erp: str, project: str) -> None:
    """Post the invoice of a project; a busy ERP is asked again."""
    trace.get_current_span().set_attributes({"app.project": project, "app.invoice": f"INV-{project}"})
    answer = httpx.post(f"{erp}/invoices/{project}", json={"project": project})
    if answer.status_code == 503:
        raise self.retry(countdown=0)
    answer.raise_for_status()


@contextmanager
def erp() -> Iterator[str]:
    """The ERP's address, while it is there."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Erp)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def main() -> None:
    """Post three invoices and wait for what becomes of them."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    instrumentors: list[Any] = [CeleryInstrumentor, HTTPXClientInstrumentor]
    for instrumentor in instrumentors:
        instrumentor().instrument()
    with erp() as address, start_worker(app, perform_ping_check=False, pool="solo", loglevel="CRITICAL"):
        sent = [post_invoice.delay(address, project) for project in ("P-1", "P-2", "P-3")]
        for one in sent:
            one.get(timeout=20, propagate=False)
    provider.shutdown()


if __name__ == "__main__":
    main()
