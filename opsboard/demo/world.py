"""The sandbox systems behind the demo: the same firm as rows of one SQLite file, so that what the story says is
refused is refused, and goes through once its cause has been removed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from integrations.connectors import connect
from integrations.connectors.sandbox import World
from integrations.flows import Flow, flows
from opsboard.demo import billing, rates
from opsboard.demo.billing import PAYMENT_DAYS
from opsboard.demo.firm import Firm
from opsboard.demo.story import Story
from opsboard.demo.telling import LANDSCAPE
from opsboard.demo.trouble import CRM, ERP, PSA
from opsboard.demo.work import blocked_period

Row = dict[str, Any]
CONNECTIONS = {
    CRM: ("crm", "Salesforce (simulated)", "salesforce"),
    PSA: ("psa", "Certinia PSA (simulated)", "certinia"),
    ERP: ("erp", "NetSuite (simulated)", "netsuite"),
}
TASKS = ["Discovery", "Delivery", "Hand-over"]


def build(story: Story, path: Path) -> World:
    """Make the sandbox anew at `path`; what was there is gone. Nobody may have it open."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        fresh = World(Path(folder) / path.name)
        fresh.load(
            legal_entity=_entities(story),
            rate=_rates(story.firm),
            period=_periods(story.firm),
            cost_center=[{"code": code, "department": name} for code, name in story.firm.cost_centers.items()],
            crm_account=_accounts(story.firm),
            erp_customer=_customers(story),
            opportunity=_opportunities(story),
            project=_projects(story),
            time_entry=_time(story),
            invoice=[*_invoices(story), *_unreported(story)],
        )
        with fresh.write() as db:
            db.execute("SELECT 1")
        with fresh.read() as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for left in path.parent.glob(f"{path.name}-*"):  # write-ahead log of a former sandbox
            left.unlink()
        fresh.path.replace(path)
    return World(path)


def write_connections(target: Path, sandbox: Path) -> None:
    """Put the three systems into `connections.json` (0600); other entries stay."""
    entries: dict[str, Any] = json.loads(target.read_text()) if target.is_file() else {}
    for key, (role, label, vendor) in CONNECTIONS.items():
        entries[key] = {
            "connector": "sandbox", "role": role, "landscape": LANDSCAPE, "label": label, "vendor": vendor,
            "path": str(sandbox),
        }  # fmt: skip
    fresh = target.with_name(f"{target.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    with open(descriptor, "w") as file:
        json.dump(entries, file, indent=1)
    fresh.replace(target)


def read_to_end(flow: Flow, sandbox: Path) -> tuple[set[str], str]:
    """Everything the flow would take from the sandbox: sources, and the cursor behind the last."""
    config = {role: {"connector": "sandbox", "role": role, "path": str(sandbox)} for role in ("crm", "psa", "erp")}
    keys = {role: key for key, (role, _, _) in CONNECTIONS.items()}
    systems = {role: connect(config[role], keys[role]) for role in flow.roles}
    sources: set[str] = set()
    cursor: str | None = None
    while True:
        found = flow.collect(systems, cursor, lambda sources: set())
        for message in found.messages:
            sources.update(message.sources)
        for problem in found.problems:
            sources.update(problem.sources)
        cursor = found.cursor
        if not found.more:
            return sources, cursor


def all_flows() -> list[Flow]:
    """The flows the sandbox can serve."""
    return list(flows().values())


def _entities(story: Story) -> Iterator[Row]:
    last = _last_numbers(story)
    for entity in story.firm.entities:
        unnumbered = [
            item
            for item, *_ in billing.already_there(story.telling.items)
            if item.letter.message.entity == entity.code and not item.letter.facts["other"]
        ]
        following = last[entity.code] + len(unnumbered) + 1
        yield {
            "code": entity.code,
            "name": entity.name,
            "currency": entity.currency,
            "next_number": following,
        }


def _last_numbers(story: Story) -> dict[str, int]:
    """The highest invoice number of each company, hand-made invoices among them."""
    handmade = [str(item.letter.facts["other"]) for item, *_ in billing.already_there(story.telling.items)]
    last = {entity.code: 0 for entity in story.firm.entities}
    for number in (*(invoice.number for invoice in story.invoices), *filter(None, handmade)):
        entity, _, digits = number.removeprefix("INV-").rpartition("-")
        last[entity] = max(last[entity], int(digits))
    return last


def _rates(firm: Firm) -> Iterator[Row]:
    """The German company bills in foreign currency; the American one has no rate but its own."""
    begin = (firm.first_day - timedelta(days=60)).isoformat()
    for currency in ("USD", "CHF", "GBP"):
        yield {
            "entity": "NWC-DE",
            "currency": currency,
            "valid_from": begin,
            "rate": rates.between("EUR", currency),
        }


def _periods(firm: Firm) -> Iterator[Row]:
    """Closed up to the blocked month, open after it up to this month."""
    blocked = blocked_period(firm.as_of.date())
    month = (firm.first_day.replace(day=1) - timedelta(days=1)).replace(day=1)
    while month <= firm.as_of.date():
        period = f"{month:%Y-%m}"
        for entity in firm.entities:
            yield {
                "entity": entity.code,
                "period": period,
                "state": "closed" if period <= blocked else "open",
            }
        month = (month + timedelta(days=32)).replace(day=1)


def _accounts(firm: Firm) -> list[Row]:
    known = {customer.crm: customer for customer in (*firm.customers, *(deal.customer for deal in firm.waiting))}
    return [
        {
            "code": one.crm,
            "name": one.name,
            "tax_id": one.tax_id,
            "currency": one.currency,
            "entity": one.seller,
        }
        for one in known.values()
    ]


def _customers(story: Story) -> Iterator[Row]:
    for one in story.firm.customers:
        yield {
            "code": one.erp, "name": one.name, "tax_id": one.tax_id, "currency": one.currency, "entity": one.seller,
            "on_hold": int(one.psa in story.plan.holds),
        }  # fmt: skip


def _opportunities(story: Story) -> Iterator[Row]:
    """All won deals but one: somebody deleted the opportunity of an invoice whose state is to be written."""
    gone = {
        item.letter.facts["opportunity"]
        for item in story.telling.items
        if item.error and item.error["code"] == "NOT_FOUND"
    }
    for deal in (*(project.opportunity for project in story.firm.projects), *story.firm.waiting):
        if deal.number not in gone:
            yield {
                "number": deal.number, "name": deal.name, "account": deal.customer.crm, "amount": deal.amount,
                "currency": deal.currency, "entity": deal.entity, "service_line": deal.service_line,
                "owner": deal.owner, "closed_on": deal.closed_at.date(), "modified_at": deal.closed_at,
            }  # fmt: skip


def _projects(story: Story) -> Iterator[Row]:
    for project in story.firm.projects:
        changes = story.plan.changes.get(project.code, {})
        ceiling = story.plan.ceilings.get(project.code, "")
        yield {
            "code": project.code, "name": project.name, "customer_code": project.customer.psa,
            "customer_name": project.customer.name, "customer_tax_id": project.customer.tax_id,
            "entity": project.entity, "cost_center": project.cost_center, "currency": project.currency,
            "status": story.plan.statuses.get(project.code, "active"), "ceiling": str(ceiling),
            "opportunity": project.opportunity.number, "service_line": project.service_line, "tasks": TASKS,
            "key": f"opportunity-to-project:opportunity/{project.opportunity.number}",
        } | changes  # fmt: skip


def _time(story: Story) -> Iterator[Row]:
    """All time cards; those whose approval lies ahead are there, but not approved."""
    now = story.firm.as_of
    for card in story.cards:
        yield {
            "id": card.id, "project": card.project.code, "person_code": card.person.code,
            "person_name": card.person.name, "worked_on": card.worked_on, "hours": card.hours, "rate": card.rate,
            "approved": int(card.approved_at <= now), "modified_at": min(card.approved_at, now),
        }  # fmt: skip


def _invoices(story: Story) -> Iterator[Row]:
    for one in story.invoices:
        yield {
            "id": None, "reference": one.reference, "number": one.number, "entity": one.bill.project.entity,
            "customer": one.customer_erp, "project": one.bill.project.code, "invoice_date": one.invoice_date,
            "due_on": one.due_on, "paid_on": one.paid_on, "currency": one.currency, "total": one.total,
            "open": one.open, "state": "posted" if one.open else "paid", "request": one.request,
            "modified_at": one.changed_at or one.posted_at,
        }  # fmt: skip


def _unreported(story: Story) -> Iterator[Row]:
    """What ERP has of messages that have not arrived."""
    last = _last_numbers(story)
    for item, reference, total in billing.already_there(story.telling.items):
        request = item.letter.payload
        number = item.letter.facts.get("other")
        if not number:
            last[request.legal_entity] += 1
            number = f"INV-{request.legal_entity}-{last[request.legal_entity]:05d}"
        dated: date = request.invoice_date
        project = next(one for one in story.firm.projects if one.code == request.project_code)
        yield {
            "id": None, "reference": reference, "number": number, "entity": request.legal_entity,
            "customer": project.customer.erp, "project": request.project_code, "invoice_date": dated,
            "due_on": dated + timedelta(days=PAYMENT_DAYS), "paid_on": None, "currency": request.currency,
            "total": total, "open": total, "state": "posted", "request": request.model_dump_json(),
            "modified_at": item.letter.received_at,
        }  # fmt: skip
