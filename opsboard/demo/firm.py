"""Nordwind Consulting: its companies, people, customers, deals and projects. Same seed and day, same firm.

Everything here is invented. Where a share could be taken from published data it is named in SHARES; amounts are
the usual ones of European and American consultancies.
"""

from __future__ import annotations

import random
import string
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from opsboard.demo.names import CUSTOMERS, FIRST_NAMES, LAST_NAMES, OFFERS, PROSPECTS


class Chance(random.Random):
    """Chance that a seed repeats: for made-up data, never for secrets."""


HISTORY = timedelta(days=364)  # 52 weeks back from the day of loading
STANDARD_HOURS = 40  # a week's capacity of one person
UTC_MORNING = 7


@dataclass(frozen=True)
class Entity:
    """A company of the firm."""

    code: str
    name: str
    currency: str


@dataclass(frozen=True)
class Consultant:
    """A person who works on projects. rate: list price of an hour in the currency of the person's company."""

    code: str
    name: str
    entity: str
    grade: str
    rate: Decimal


@dataclass(frozen=True)
class Customer:
    """One customer and its numbers: CRM, PSA and ERP each have their own; empty where it is not known yet.

    seller: code of the company that sells to it, as CRM says.
    """

    name: str
    tax_id: str
    currency: str
    seller: str
    crm: str
    psa: str
    erp: str


@dataclass(frozen=True)
class Opportunity:
    """A won deal."""

    number: str
    name: str
    customer: Customer
    amount: Decimal
    entity: str
    currency: str
    service_line: str
    owner: str
    closed_at: datetime


@dataclass(frozen=True)
class Project:
    """A project billed by time. cycle: weeks or months are approved (and billed) together."""

    code: str
    name: str
    customer: Customer
    entity: str
    currency: str
    service_line: str
    cost_center: str
    opportunity: Opportunity
    start: date
    end: date
    cycle: str
    team: tuple[tuple[Consultant, Decimal], ...]


@dataclass(frozen=True)
class Firm:
    """The whole firm as of a day. `waiting` are won deals that have no project yet."""

    seed: int
    as_of: datetime
    entities: tuple[Entity, ...]
    consultants: tuple[Consultant, ...]
    customers: tuple[Customer, ...]
    projects: tuple[Project, ...]
    waiting: tuple[Opportunity, ...]
    cost_centers: dict[str, str] = field(default_factory=dict)

    @property
    def first_day(self) -> date:
        """The Monday the history begins with."""
        return monday(self.as_of.date() - HISTORY)

    def stream(self, *names: object) -> random.Random:
        """Chance for one purpose: what is drawn for one thing does not move what is drawn for another."""
        return _random(self.seed, *names)


ENTITIES = (
    Entity("NWC-DE", "Nordwind Consulting GmbH", "EUR"),
    Entity("NWC-US", "Nordwind Consulting Inc.", "USD"),
)
# Lowest and highest hourly rate of a grade, and how many of a hundred people have it.
GRADES = {
    "Analyst": (95, 120, 20),
    "Consultant": (120, 150, 35),
    "Senior Consultant": (150, 185, 25),
    "Manager": (185, 225, 15),
    "Partner": (230, 260, 5),
}
RATE_FACTOR = {"EUR": Decimal(1), "USD": Decimal("1.1"), "CHF": Decimal("1.05"), "GBP": Decimal("0.88")}
SALES = ("Clara Jansen", "Tim Rathke", "Dana Whitfield", "Nils Overbeck")
BASE62 = string.ascii_uppercase + string.ascii_lowercase + string.digits
# Deals won lately that wait for their project: offer, days ago, amount, service line, customer ("p0" is the first
# prospect, "c4" the fifth customer). What stands against each is in trouble.WAITING, in the same order.
WAITING = (
    ("Group close acceleration", 1, "148500.00", "ERP Advisory", "p0"),
    ("Landing zone build", 4, "96400.00", "Cloud Platform", "p1"),
    ("Self-service portal", 2, "61250.00", "", "c2"),
    ("Demand forecasting", 6, "43800.00", "", "c7"),
    ("Order-to-cash redesign", 9, "179600.00", "ERP Advisory", "p2"),
)


def monday(day: date) -> date:
    """The Monday of the day's week."""
    return day - timedelta(days=day.weekday())


def at(day: date, hour: float) -> datetime:
    """That hour of a day, UTC."""
    return datetime.combine(day, time(), UTC) + timedelta(seconds=round(hour * 3600))


def build(seed: int, as_of: datetime, scale: float = 1.0) -> Firm:
    """The firm as of a moment (UTC). scale 1 is 40 consultants, 25 customers and 60 projects."""
    people = _consultants(seed, max(8, round(40 * scale)))
    customers = _customers(seed, max(9, round(25 * scale)))
    projects = _projects(seed, as_of, people, customers, max(26, round(60 * scale)))
    waiting = _waiting(seed, as_of, customers)
    lines = {name: f"{410 + 10 * position}" for position, name in enumerate(OFFERS)}
    centers = {f"{entity.code[-2:]}-{number}": name for entity in ENTITIES for name, number in lines.items()}
    return Firm(seed, as_of, ENTITIES, people, customers, projects, waiting, centers)


def _random(seed: int, *names: object) -> random.Random:
    return Chance("/".join(map(str, (seed, *names))))


def _consultants(seed: int, count: int) -> tuple[Consultant, ...]:
    rng = _random(seed, "consultants")
    people = []
    pools = {
        country: [f"{first} {last}" for first, last in zip(FIRST_NAMES[country], _mixed(rng, country), strict=True)]
        for country in ("DE", "US")
    }
    for position in range(count):
        country = "US" if position % 20 in (2, 5, 8, 11, 14, 17, 19) else "DE"  # 26 in Germany, 14 in America
        grade = rng.choices(list(GRADES), [share for *_, share in GRADES.values()])[0]
        low, high, _ = GRADES[grade]
        rate = Decimal(rng.randrange(low, high + 1, 5))
        people.append(Consultant(f"E-{1001 + position}", pools[country].pop(), f"NWC-{country}", grade, rate))
    return tuple(people)


def _mixed(rng: random.Random, country: str) -> list[str]:
    return rng.sample(LAST_NAMES[country], len(LAST_NAMES[country]))


def _customers(seed: int, count: int) -> tuple[Customer, ...]:
    rng = _random(seed, "customers")
    found = []
    for position, (name, country, currency, entity) in enumerate(CUSTOMERS[:count]):
        crm = "0015g00000" + "".join(rng.choices(BASE62, k=8))
        digits = f"{rng.randrange(10**8, 10**9)}"
        tax_id = f"{digits[:2]}-{digits[2:]}" if country == "US" else f"{country}{digits}"
        psa = f"ACC-{rng.randrange(100, 1000)}{position:02d}"
        found.append(Customer(name, tax_id, currency, entity, crm, psa, f"CUST-{20001 + position}"))
    return tuple(found)


def _projects(
    seed: int, as_of: datetime, people: tuple[Consultant, ...], customers: tuple[Customer, ...], count: int
) -> tuple[Project, ...]:
    """Projects by start day. Two thirds run today, so that the open exceptions have somewhere to happen."""
    rng = _random(seed, "projects")
    today = monday(as_of.date())
    spans = []
    for position in range(count):
        running = position >= count // 3
        back = rng.randrange(40, 400) if running else rng.randrange(300, 540)
        start = monday(today - timedelta(days=back))
        length = back + rng.randrange(30, 200) if running else rng.randrange(140, 260)
        spans.append((start, start + timedelta(days=length)))
    load: dict[str, list[tuple[date, date]]] = defaultdict(list)
    offers = [(line, offer) for line, names in OFFERS.items() for offer in names]
    projects = []
    for position, (start, end) in enumerate(sorted(spans)):
        customer = customers[position % len(customers)]
        line, offer = offers[(position * 7) % len(offers)]
        team = _team(rng, people, customer, (start, end), load)
        name = f"{offer} – {customer.name.split()[0]}"
        won = at(start - timedelta(days=rng.randrange(10, 30)), UTC_MORNING + rng.random() * 9)
        deal = Opportunity(
            f"OPP-{won:%y}-{1100 + position * 3}", name, customer, _budget(team, start, end), customer.seller,
            customer.currency, line, rng.choice(SALES), won,
        )  # fmt: skip
        center = f"{customer.seller[-2:]}-{410 + 10 * list(OFFERS).index(line)}"
        cycle = "week" if rng.random() < 0.5 else "month"
        projects.append(
            Project(
                f"P-{1041 + position}",
                name,
                customer,
                customer.seller,
                customer.currency,
                line,
                center,
                deal,
                start,
                end,
                cycle,
                team,
            )
        )
    return tuple(projects)


def _team(
    rng: random.Random,
    people: tuple[Consultant, ...],
    customer: Customer,
    span: tuple[date, date],
    load: dict[str, list[tuple[date, date]]],
) -> tuple[tuple[Consultant, Decimal], ...]:
    """The least busy colleagues of the company that sells, each at a rate in the customer's currency."""

    def busy(person: Consultant) -> tuple[int, float]:
        days = sum(max(0, (min(span[1], end) - max(span[0], start)).days) for start, end in load[person.code])
        return days, rng.random()

    company = [person for person in people if person.entity == customer.seller]
    chosen = sorted(company, key=busy)[: rng.choice((2, 2, 3, 3, 4))]
    for person in chosen:
        load[person.code].append(span)
    factor = RATE_FACTOR[customer.currency]
    return tuple((person, _rate(person.rate * factor)) for person in chosen)


def _rate(value: Decimal) -> Decimal:
    """To the next five, within what the firm asks."""
    return min(max(Decimal(round(value / 5) * 5), Decimal(95)), Decimal(260)).quantize(Decimal("0.01"))


def _budget(team: tuple[tuple[Consultant, Decimal], ...], start: date, end: date) -> Decimal:
    weeks = Decimal((end - start).days) / 7
    value = sum((rate for _, rate in team), Decimal(0)) * weeks * 15
    return (value / 500).to_integral_value() * Decimal("500.00")


def _waiting(seed: int, as_of: datetime, customers: tuple[Customer, ...]) -> tuple[Opportunity, ...]:
    rng = _random(seed, "waiting")
    prospects = _prospects(rng)
    found = []
    for position, (offer, days, amount, line, who) in enumerate(WAITING):
        customer = (prospects if who[0] == "p" else customers)[int(who[1:])]
        entity = customer.seller if customer.seller in {entity.code for entity in ENTITIES} else "NWC-DE"
        won = as_of - timedelta(days=days, hours=1 + rng.random() * 6)
        found.append(
            Opportunity(
                f"OPP-{won:%y}-{1901 + position * 3}",
                f"{offer} – {customer.name.split()[0]}",
                customer,
                Decimal(amount),
                entity,
                customer.currency,
                line,
                rng.choice(SALES),
                won,
            )
        )
    return tuple(found)


def _prospects(rng: random.Random) -> list[Customer]:
    """Two without a tax identifier; the third sold to by a company that ERP does not have."""
    found = []
    for position, (name, country, currency, seller) in enumerate(PROSPECTS):
        crm = "0015g00001" + "".join(rng.choices(BASE62, k=8))
        known = position == len(PROSPECTS) - 1
        tax_id = f"{country}{rng.randrange(10**8, 10**9)}" if known else ""
        found.append(Customer(name, tax_id, currency, "NWC-CH" if known else seller, crm, "", ""))
    return found
