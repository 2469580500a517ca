"""Cases that all checks share: some for each rule and side of its limit, and some as they come."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from flywheel_domains.behaviour import Behaviour
from flywheel_domains.domain import Domain
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.errors import ExprError, ToolFault
from flywheel_domains.model import Rule
from flywheel_domains.wishes import NotDrawn
from flywheel_domains.world import World

PER_SIDE = 3
"""Cases per rule and side: one shows that it is reached, three that it was not luck."""
FREE = 60
"""Cases as they come, of which shares are taken."""
MOST_RAISED = 3
"""Exceptions after which drawing stops: what raises once raises often, and every draw is tried again."""


@dataclass(frozen=True)
class Side:
    """A rule that is to fire, or to be read and not to fire."""

    rule: str
    fires: bool


@dataclass
class Sample:
    """What was drawn: by side, as it came, the sides that were not reached and why, and what raised."""

    sides: dict[Side, list[Behaviour]] = field(default_factory=dict)
    free: list[Behaviour] = field(default_factory=list)
    missed: dict[Side, str] = field(default_factory=dict)
    none: str = ""
    raised: list[ExprError | ToolFault] = field(default_factory=list)

    @property
    def all(self) -> list[Behaviour]:
        """Every behaviour."""
        return [*(found for each in self.sides.values() for found in each), *self.free]

    def some(self, most: int) -> list[Behaviour]:
        """One of each side, then as many of the others as there is room for."""
        first = [each[0] for each in self.sides.values() if each]
        return first + self.free[: max(0, most - len(first))]


def sides(rule: Rule) -> list[Side]:
    """The sides on which a rule can be: without a condition it has one; who calls and modifiers are no last word."""
    if rule.verdict in (None, "identify"):
        return []
    conditional = rule.when is not None or rule.unless is not None
    return [Side(rule.id, True), *([Side(rule.id, False)] if conditional else [])]


def take(domain: Domain, worlds: tuple[World, ...], seed: int) -> Sample:
    """Draws all of it, from random numbers of its own for each side, so that one rule's cases do not move another's."""
    sample = Sample()
    for rule in domain.rules:
        for side in sides(rule):
            _side(sample, domain, worlds, side, seed)
    for number in range(FREE):
        rng = random.Random(f"{seed}/free/{number}")
        try:
            sample.free.append(draw_behaviour(domain, worlds[number % len(worlds)], rng))
        except NotDrawn as error:
            sample.none = str(error)
            break
        except (ExprError, ToolFault) as error:
            sample.raised.append(error)
        if len(sample.raised) >= MOST_RAISED:
            break
    return sample


def _side(sample: Sample, domain: Domain, worlds: tuple[World, ...], side: Side, seed: int) -> None:
    found = sample.sides.setdefault(side, [])
    for number in range(PER_SIDE):
        if len(sample.raised) >= MOST_RAISED:
            return
        rng = random.Random(f"{seed}/{side.rule}/{side.fires}/{number}")
        try:
            found.append(draw_behaviour(domain, worlds[number % len(worlds)], rng, side.rule, side.fires))
        except NotDrawn as error:
            if number == PER_SIDE - 1 and not found:
                sample.missed[side] = str(error)
        except (ExprError, ToolFault) as error:
            sample.raised.append(error)
