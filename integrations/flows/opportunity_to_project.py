"""Opportunity → project: a won deal becomes a customer in ERP and a project with tasks in PSA."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from pydantic import ValidationError

from integrations.canonical import Project, WonOpportunity
from integrations.connectors.ports import CRM, ERP, PSA, Found, Record, Ref
from integrations.flows.base import (
    Collected,
    Flow,
    Message,
    Posted,
    Problem,
    Step,
    Systems,
    Taken,
    problem,
    timed,
    untaken,
)

TASKS = ("Discovery", "Delivery", "Hand-over")  # the work breakdown every project starts with


class OpportunityToProject(Flow):
    """Each step looks up before it creates, so repeating the whole is safe."""

    key = "opportunity-to-project"
    label = "Opportunity → project"
    owner = "sales_ops"
    criticality = "high"
    pattern = "api"
    source = "crm"
    targets = ("erp", "psa")
    message: ClassVar[type[WonOpportunity]] = WonOpportunity
    latency_objective = timedelta(hours=4)

    def collect(self, systems: Systems, cursor: str | None, taken: Taken) -> Collected:
        """Won opportunities; one message each, once, however often CRM touches the record afterwards."""
        crm: CRM = systems["crm"]
        page = crm.changed_opportunities(cursor)
        messages: list[Message] = []
        problems: list[Problem] = []
        records = untaken(page.records, taken)
        carried = taken([record.identity for record in records])
        for record in records:
            if record.identity in carried:
                continue
            try:
                payload = WonOpportunity.model_validate(record.data)
            except ValidationError as error:
                problems.append(problem(record, error))
                continue
            messages.append(_message(record, payload))
        return Collected(messages, page.cursor, problems, page.more)

    def check(self, systems: Systems, payload: WonOpportunity) -> list[str]:
        """A customer without a tax identifier cannot be told from another of the same name."""
        if payload.customer.tax_id:
            return []
        return [f"Customer {payload.customer.name} has no tax identifier; ERP is searched by its code only."]

    def post(self, systems: Systems, payload: WonOpportunity, key: str, step: Step) -> Posted:
        """Ensure the customer in ERP, then the project in PSA."""
        customer = self._customer(systems["erp"], payload, key, step)
        project = self._project(systems["psa"], payload, key, step)
        return _posted(customer, project)

    def look_up(self, systems: Systems, payload: WonOpportunity, key: str) -> Posted | None:
        """Done when the project exists: it is the last step and comes with its tasks in one unit."""
        erp: ERP = systems["erp"]
        psa: PSA = systems["psa"]
        project = psa.find_project_by_key(_subject(key))
        customer = erp.find_customer(payload.customer.code, payload.customer.tax_id) if project else None
        return _posted(customer, project) if project and customer else None

    def _customer(self, erp: ERP, payload: WonOpportunity, key: str, step: Step) -> Found:
        customer = payload.customer
        found, took = timed(lambda: erp.find_customer(customer.code, customer.tax_id))
        if found is not None:
            step("customer.found", system=erp.system, refs=[found.ref], latency_ms=took)
            return found
        sent = customer.model_dump(mode="json")
        created, took = timed(lambda: erp.create_customer(customer, key))
        answer = dict(created.data)
        step(
            "customer.created",
            system=erp.system,
            refs=[created.ref],
            sent=sent,
            answer=answer,
            latency_ms=took,
        )
        return created

    def _project(self, psa: PSA, payload: WonOpportunity, key: str, step: Step) -> Found:
        subject = _subject(key)
        found, took = timed(lambda: psa.find_project_by_key(subject))
        if found is not None:
            step("project.found", system=psa.system, refs=[found.ref], latency_ms=took)
            return found
        project = Project(
            name=payload.name,
            customer=payload.customer,
            currency=payload.currency,
            legal_entity=payload.legal_entity,
            service_line=payload.service_line,
            budget=payload.amount,
            opportunity=payload.number,
            tasks=TASKS,
        )
        sent = project.model_dump(mode="json")
        created, took = timed(lambda: psa.create_project(project, subject))
        step(
            "project.created",
            system=psa.system,
            refs=[created.ref],
            sent=sent,
            answer=dict(created.data),
            latency_ms=took,
        )
        return created


def _subject(key: str) -> str:
    """A deal has one project whatever is corrected in its payload, so PSA is searched without the digest."""
    return key.partition("#")[0]


def _message(record: Record, payload: WonOpportunity) -> Message:
    key = f"opportunity/{payload.number}"
    return Message(
        key=key,
        lane=key,
        payload=payload,
        refs=(Ref(record.ref.system, record.ref.type, record.ref.id, "subject", payload.name), *record.refs),
        amount=payload.amount,
        currency=payload.currency,
        entity=payload.legal_entity,
        occurred_at=record.changed_at,
        sources=(record.source, record.identity),
    )


def _posted(customer: Found, project: Found) -> Posted:
    answer: dict[str, Any] = {"customer": dict(customer.data), "project": dict(project.data)}
    return Posted(refs=(project.ref, customer.ref), reference=project.ref.id, answer=answer)


FLOW = OpportunityToProject()
