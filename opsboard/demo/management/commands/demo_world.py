"""`manage.py demo_world ACTION`: be the administrator of the sandbox systems behind the demo.

What stands in the way of the open exceptions is removed here, as it would be in the real systems; a replay then goes
through. New facts (approved time, payments, won deals) are made here, too; the jobs find them within half a minute.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from integrations.connectors.sandbox import World
from opsboard.demo.commands import sandbox
from opsboard.demo.rates import between

Options = dict[str, Any]


def _status(world: World, options: Options) -> str:
    return "\n".join(_lines(world))


def _lines(world: World) -> Iterator[str]:
    """What is closed, held, unknown or waiting in the sandbox."""
    queries = {
        "closed periods (newest three per company)": """SELECT entity || ' ' || period FROM (
            SELECT *, row_number() OVER (PARTITION BY entity ORDER BY period DESC) AS place FROM period
            WHERE state = 'closed') WHERE place <= 3 ORDER BY 1""",
        "cost centres ERP does not know": """SELECT DISTINCT cost_center FROM project WHERE cost_center <> ''
            AND cost_center NOT IN (SELECT code FROM cost_center)""",
        "customers of projects that ERP does not know": """SELECT DISTINCT customer_code || ' ' || customer_name
            FROM project WHERE customer_tax_id NOT IN (SELECT tax_id FROM erp_customer)""",
        "customers on hold": "SELECT code || ' ' || name FROM erp_customer WHERE on_hold = 1",
        "projects not active": "SELECT code || ' ' || status FROM project WHERE status <> 'active'",
        "projects with a ceiling": "SELECT code || ' ' || ceiling || ' ' || currency FROM project WHERE ceiling <> ''",
        "time not yet approved": "SELECT count(*) || ' entries' FROM time_entry WHERE approved = 0",
        "faults that are set": "SELECT role || ' ' || kind || ' ' || remaining FROM fault WHERE remaining > 0",
    }
    with world.read() as db:
        for label, query in queries.items():
            found = [str(row[0]) for row in db.execute(query)]
            yield f"{label}: {', '.join(found) or 'none'}"


def _open_period(world: World, options: Options) -> str:
    world.open_period(options["entity"], options["period"])
    return f"{options['period']} is open in {options['entity']}"


def _close_period(world: World, options: Options) -> str:
    world.close_period(options["entity"], options["period"])
    return f"{options['period']} is closed in {options['entity']}"


def _map_cost_center(world: World, options: Options) -> str:
    world.map_cost_center(options["code"], options["department"])
    return f"cost centre {options['code']} is department {options['department']}"


def _create_customer(world: World, options: Options) -> str:
    """The customer as PSA's projects know it, under ERP's next number."""
    query = """SELECT customer_code, customer_name, customer_tax_id, currency, entity FROM project
        WHERE customer_code = ? AND customer_tax_id NOT IN (SELECT tax_id FROM erp_customer)"""
    with world.read() as db:
        row = db.execute(query, (options["customer"],)).fetchone()
        number = db.execute("SELECT count(*) FROM erp_customer").fetchone()[0] + 20001
    if row is None:
        raise CommandError(f"ERP knows every customer that PSA calls {options['customer']}.")
    _, name, tax_id, currency, entity = row
    world.add_customer(f"CUST-{number}", name, tax_id, currency, entity)
    return f"{name} ({tax_id}) is CUST-{number} in ERP"


def _release_customer(world: World, options: Options) -> str:
    world.hold_customer(options["customer"], False)
    return f"{options['customer']} is no longer on hold"


def _hold_customer(world: World, options: Options) -> str:
    world.hold_customer(options["customer"], True)
    return f"{options['customer']} is on credit hold"


def _approve_project(world: World, options: Options) -> str:
    world.set_project(options["project"], status="active")
    return f"{options['project']} is active"


def _raise_ceiling(world: World, options: Options) -> str:
    world.set_project(options["project"], ceiling=options["amount"])
    return f"{options['project']} may be billed up to {options['amount']}"


def _add_rate(world: World, options: Options) -> str:
    """One unit of the currency in the company's own, from the beginning of the year before."""
    with world.read() as db:
        row = db.execute("SELECT currency FROM legal_entity WHERE code = ?", (options["entity"],)).fetchone()
    if row is None:
        raise CommandError(f"There is no company {options['entity']}.")
    rate = options["rate"] or between(row["currency"], options["currency"])
    world.add_rate(options["entity"], options["currency"], rate, date(datetime.now(UTC).year - 1, 1, 1))
    return f"1 {options['currency']} is {rate} {row['currency']} in {options['entity']}"


def _add_company(world: World, options: Options) -> str:
    world.add_legal_entity(options["entity"], options["name"], options["currency"])
    return f"ERP knows the company {options['entity']}"


def _approve_time(world: World, options: Options) -> str:
    """Approve the oldest entries that wait for it."""
    query = """SELECT id FROM time_entry WHERE approved = 0 AND (:project = '' OR project = :project)
        ORDER BY worked_on, id LIMIT :count"""
    with world.read() as db:
        parameters = {"project": options["project"], "count": options["count"]}
        found = [row["id"] for row in db.execute(query, parameters)]
    for entry in found:
        world.set_time_entry(entry, approved=1)
    return f"{len(found)} time entries approved" + (f": {found[0]} … {found[-1]}" if found else "")


def _pay_invoice(world: World, options: Options) -> str:
    world.pay_invoice(options["number"], options["amount"])
    return f"{options['number']} was paid"


def _win_deal(world: World, options: Options) -> str:
    """A deal with a customer CRM knows, by any of its accounts; won now."""
    with world.read() as db:
        account = db.execute("SELECT * FROM crm_account WHERE name LIKE ?", (f"{options['customer']}%",)).fetchone()
        count = db.execute("SELECT count(*) FROM opportunity").fetchone()[0]
    if account is None:
        raise CommandError(f"CRM has no account whose name begins with {options['customer']!r}.")
    now = datetime.now(UTC)
    row = {
        "number": f"OPP-{now:%y}-{5000 + count}", "name": options["name"], "account": account["code"],
        "amount": options["amount"], "currency": account["currency"], "entity": account["entity"],
        "service_line": options["service_line"], "owner": "Clara Jansen", "closed_on": now.date(),
    }  # fmt: skip
    world.load(opportunity=[row])
    return f"{row['number']} {row['name']} was won"


def _fail_next(world: World, options: Options) -> str:
    world.fail_next(options["role"], options["fault"], times=options["times"])
    return f"the next {options['times']} writes to {options['role']} fail ({options['fault']})"


@dataclass(frozen=True)
class Action:
    """What can be done: arguments by name (a name that begins with -- is optional) with their options."""

    run: Callable[[World, Options], str]
    help: str
    arguments: dict[str, dict[str, Any]]


def _money(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(text) from error


ENTITY = {"--entity": {"default": "NWC-DE", "help": "company of the firm"}}
ACTIONS = {
    "status": Action(_status, "what stands in the way of whom", {}),
    "open_period": Action(_open_period, "open an accounting period in ERP", {"period": {"help": "YYYY-MM"}} | ENTITY),
    "close_period": Action(_close_period, "close one", {"period": {"help": "YYYY-MM"}} | ENTITY),
    "map_cost_center": Action(
        _map_cost_center, "let ERP know a cost centre of PSA", {"code": {}, "--department": {"default": "Consulting"}}
    ),
    "create_customer": Action(
        _create_customer, "create in ERP a customer of PSA's projects", {"customer": {"help": "number in PSA: ACC-…"}}
    ),
    "release_customer": Action(_release_customer, "end a credit hold", {"customer": {"help": "number in ERP: CUST-…"}}),
    "hold_customer": Action(_hold_customer, "put on credit hold", {"customer": {"help": "number in ERP: CUST-…"}}),
    "approve_project": Action(_approve_project, "make a pending or closed project active", {"project": {}}),
    "raise_ceiling": Action(_raise_ceiling, "raise what may be billed", {"project": {}, "amount": {"type": _money}}),
    "add_rate": Action(
        _add_rate, "give ERP an exchange rate", {"currency": {}, "--rate": {"type": _money, "default": None}} | ENTITY
    ),
    "add_company": Action(
        _add_company, "let ERP know another company of the firm",
        {"entity": {"help": "code"}, "--name": {"default": "Nordwind Consulting AG"}, "--currency": {"default": "CHF"}},
    ),
    "approve_time": Action(
        _approve_time, "approve time entries that wait",
        {"--project": {"default": ""}, "--count": {"type": int, "default": 10}},
    ),
    "pay_invoice": Action(
        _pay_invoice, "receive a payment", {"number": {}, "--amount": {"type": _money, "default": None}}
    ),
    "win_deal": Action(
        _win_deal, "win an opportunity",
        {"name": {}, "amount": {"type": _money}, "--customer": {"required": True, "help": "how its name begins"},
         "--service-line": {"default": "ERP Advisory"}},
    ),
    "fail_next": Action(
        _fail_next, "make the next writes fail",
        {"role": {"choices": ["crm", "psa", "erp"]}, "fault": {"choices": ["busy", "drop"]},
         "--times": {"type": int, "default": 1}},
    ),
}  # fmt: skip


class Command(BaseCommand):
    """Administrates the sandbox; needs neither database nor worker."""

    help = "administrate the simulated systems behind the demo: periods, customers, projects, time, payments"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One sub-command per action."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        for name, action in ACTIONS.items():
            one = actions.add_parser(name, help=action.help, description=action.help)
            for argument, options in action.arguments.items():
                one.add_argument(argument, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the action on the sandbox of this data directory."""
        path = sandbox()
        if not path.is_file():
            raise CommandError("There is no sandbox here: run demo_load first.")
        try:
            said = ACTIONS[options["action"]].run(World(path), options)
        except (LookupError, ValueError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(said)
