"""What becomes of a message, and how its way is told from the first attempt to where it stands."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from integrations.connectors.ports import Ref
from opsboard.demo import trouble
from opsboard.demo.firm import Firm
from opsboard.demo.telling import Act, Item, Letter, Sent, Telling

SECONDS_TO_LOSE = 30  # how long the target is waited for
DEAD_AFTER = 6  # attempts
QUIET = timedelta(days=21)  # the last three weeks are planned: nothing is drawn that would be mended tomorrow


@dataclass(frozen=True)
class Fate:
    """How it goes for a message. kind: ok, passing, given_up, refused (in the past), or failed, dead, lost (now)."""

    kind: str = "ok"
    cause: str = ""
    mended: datetime | None = None


def draw(firm: Firm, letter: Letter, moment: datetime) -> Fate:
    """The fate of a message that nothing was planned for."""
    rng = firm.stream("fate", letter.message.key)
    for patch in trouble.patches(firm):
        if patch.start <= moment < patch.end and patch.flow in ("", letter.flow) and rng.random() < patch.share:
            if patch.cause == "unreachable":
                return Fate("given_up" if rng.random() < 0.3 else "passing", patch.cause, patch.mended)
            return Fate("refused", patch.cause, patch.mended)
    drawn, refused = rng.random(), trouble.REFUSED[letter.flow]
    if drawn < refused and moment < firm.as_of - QUIET:
        return Fate("refused", pick(rng, trouble.PAST[letter.flow]), mended(rng, moment))
    if refused <= drawn < refused + trouble.TRANSIENT:
        return Fate("passing", pick(rng, trouble.PASSING[letter.flow]))
    return Fate()


def pick(rng: random.Random, weights: Mapping[str, int]) -> str:
    """One of the causes by weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def mended(rng: random.Random, moment: datetime) -> datetime:
    """When people have repaired it, in working hours: mostly after a day or two, a third after a week or two."""
    hours = min(rng.lognormvariate(3.3, 0.7), 5 * 24) if rng.random() < 0.68 else rng.uniform(5, 16) * 24
    return trouble.working_time(moment + timedelta(hours=hours))


@dataclass
class Way:
    """Brings one letter from its first attempt to where it stands.

    steps: what an attempt sends before it is answered. refs: objects and reference of what came out of it.
    """

    firm: Firm
    telling: Telling
    letter: Letter
    steps: Callable[[], list[Sent]]
    refs: Callable[[], tuple[list[Ref], str]]

    def go(self, start: datetime, fate: Fate) -> datetime | None:
        """Tell all attempts; returns when it arrived, or None if it has not."""
        number, moment = 1, start
        if fate.kind in ("passing", "given_up", "dead"):
            number, moment = self._retries(fate, moment)
        elif fate.kind != "ok":
            number, moment = self._fails(fate, moment)
        if fate.kind in ("failed", "dead", "lost"):
            return None
        if fate.kind in ("refused", "given_up"):
            number, moment = self._repaired(number, moment, fate)
        moment = self.telling.attempt(self.letter, number, moment, self.steps())
        refs, reference = self.refs()
        return self.telling.arrive(self.letter, number, moment, refs, reference)

    def _fails(self, fate: Fate, moment: datetime) -> tuple[int, datetime]:
        """The first attempt is refused, or its answer is lost."""
        wait = timedelta(seconds=SECONDS_TO_LOSE if fate.kind == "lost" else 1)
        moment = self.telling.attempt(self.letter, 1, moment, self.steps()[:1]) + wait
        kind = "outcome_unknown" if fate.kind == "lost" else "rejected"
        error = self.telling.refuse(self.letter, 1, moment, fate.cause, kind)
        if fate.kind == "lost":
            # The target is asked again tonight: until then people can see what an unknown outcome looks like.
            self.telling.items.append(Item(self.letter, "unknown", 1, error, self.firm.as_of + timedelta(hours=9)))
        elif fate.kind == "failed":
            self.telling.items.append(Item(self.letter, "failed", 1, error))
        return 1, moment

    def _retries(self, fate: Fate, moment: datetime) -> tuple[int, datetime]:
        """Attempts that failed in passing, with growing pauses; a row that is given up ends as a dead letter."""
        rng = self.firm.stream("retries", self.letter.message.key)
        tries = rng.choice((1, 1, 1, 2, 3)) if fate.kind == "passing" else DEAD_AFTER
        for number in range(1, tries + 1):
            last = number == DEAD_AFTER
            moment += timedelta(seconds=SECONDS_TO_LOSE if fate.cause == "unreachable" else 2)
            error = self.telling.refuse(self.letter, number, moment, fate.cause, "dead_lettered" if last else "retried")
            if not last:
                moment += timedelta(seconds=2**number + rng.random() * 3)
        if fate.kind == "dead":
            self.telling.items.append(Item(self.letter, "failed", tries, error))
        return tries + (fate.kind == "passing"), moment

    def _repaired(self, number: int, failed: datetime, fate: Fate) -> tuple[int, datetime]:
        """Somebody took it, saw to it, and sent it again."""
        rng = self.firm.stream("repair", self.letter.message.key)
        mended = max(fate.mended or failed, failed) + timedelta(seconds=rng.randrange(600, 2400))
        acts = self.telling.acts
        if rng.random() < 0.7:  # the rest is replayed from the queue, together
            acts.append(Act("take", failed + (mended - failed) * 0.6, self.letter, number))
        if rng.random() < 0.5 and fate.cause in SAID:
            acts.append(Act("comment", mended - timedelta(minutes=2), self.letter, number, SAID[fate.cause]))
        acts.append(Act("replay", mended, self.letter, number, DONE.get(fate.cause, "cause removed")))
        return number + 1, mended + timedelta(seconds=2)


SAID = {
    "closed_period": "Asked accounting to open the period for an hour.",
    "cost_center": "The cost centre was created in PSA first; it is mapped in ERP now.",
    "customer": "The customer was renamed; its record in ERP is there now.",
    "pending": "The project manager has approved the project.",
    "credit_hold": "Released by the credit manager, see the mail of this morning.",
    "ceiling": "Change order signed, ceiling raised.",
    "schema": "The release renamed the field; mapping corrected and deployed.",
    "unreachable": "ERP is back.",
    "crm_access": "Field security restored for the integration user.",
    "tax_number": "VAT number obtained from the customer and entered in ERP.",
    "practice": "Practice chosen with the delivery lead.",
}
DONE = {"unreachable": "target is back", "schema": "mapping corrected", "closed_period": "period reopened"}
