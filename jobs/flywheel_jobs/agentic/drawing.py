"""Fresh cases of a domain, drawn per rule and side of its limit, personas in turn; training and evaluation apart.

A domain's `holdout` says by what they are apart: personas, wordings, states. Worlds of evaluation have seeds of their
own, and so does each item of a suite, whatever round asks for it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

from flywheel_domains.case import Case, Want
from flywheel_domains.domain import Domain
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.generate import build_world
from flywheel_domains.lookups import Unprovable
from flywheel_domains.model import Persona, Rule
from flywheel_domains.wishes import NotDrawn
from flywheel_jobs.agentic.right import Right, compute, has_room

T = TypeVar("T")
WORLDS = 32  # base worlds that all rounds share: one takes 0.4 s to build, a case on it 0.5 ms
CASES_PER_WORLD = 8
HELD_OUT_WORLDS = 1_000_000
GIVE_UP = 3  # draws without success, after which a side of a rule is out of reach
SPARE = 4  # draws for each case that is wanted, at most


class Side(Enum):
    """For what a case is drawn."""

    TRAINING = "training"
    HELD_OUT = "held-out"


@dataclass(frozen=True)
class Target:
    """A rule and the side of it, or a wish that no rule decides; neither for whatever comes."""

    rule: str | None
    fires: bool = True
    wish: str | None = None


def targets(domain: Domain) -> list[Target]:
    """Every rule with a verdict as the last word, and, where it has a condition, just not; what no rule decides."""
    decided = {goal for rule in domain.rules if rule.verdict and rule.verdict != "identify" for goal in rule.applies}
    free = [name for name, wish in domain.wishes.items() if not domain.groups_of(wish.goal) & decided]
    found = [Target(None), *(Target(None, wish=name) for name in free)]
    for rule in domain.rules:
        if rule.verdict and rule.verdict != "identify":
            found.append(Target(rule.id))
            if conditional(rule):
                found.append(Target(rule.id, fires=False))
    return found


def conditional(rule: Rule) -> bool:
    """Whether a state decides if the rule fires."""
    return rule.when is not None or rule.unless is not None


def draw_cases(domain: Domain, side: Side, seed: str, wanted: int) -> Iterator[Right]:
    """About as many cases as are wanted: fewer where draws fail. Equal arguments give equal cases.

    In training each seed begins with other rules, speakers and worlds, so that a few cases a round come round to all.
    """
    open_, people = targets(domain), personas(domain, side)
    start = random.Random(f"{seed}/start")
    worlds = min(WORLDS, 1 + wanted // CASES_PER_WORLD)
    first = HELD_OUT_WORLDS if side is Side.HELD_OUT and "state" in domain.holdout.by else 0
    if side is Side.TRAINING:
        start.shuffle(open_)
        start.shuffle(people)
        first = start.randrange(WORLDS)
    failed: dict[Target, int] = {}
    made = 0
    for number in range(SPARE * wanted):
        if made == wanted or not open_:
            return
        target = open_[number % len(open_)]
        rng = random.Random(f"{seed}/{number}")
        world = first + rng.randrange(worlds)
        if side is Side.TRAINING:
            world %= WORLDS
        found = _drawn(domain, side, rng, target, world, people[made % len(people)] if people else None)
        if found is not None:
            made += 1
            yield found
            continue
        failed[target] = failed.get(target, 0) + 1
        if failed[target] >= GIVE_UP:
            open_.remove(target)


def _drawn(
    domain: Domain, side: Side, rng: random.Random, target: Target, number: int, persona: Persona | None
) -> Right | None:
    world = build_world(domain, number)
    try:
        found = draw_behaviour(domain, world, rng, target.rule, target.fires, target.wish)
    except NotDrawn:
        return None
    right = spoken_by(domain, found.case, persona, side)
    try:
        return right if has_room(right) and not (domain.prompt.compact and asks(right)) else None
    except Unprovable:
        return None


def asks(right: Right) -> bool:
    """Whether a right agent has to ask something first."""
    return any(result.asked for result in right.behaviour.results)


def spoken_by(domain: Domain, case: Case, persona: Persona | None, side: Side) -> Right:
    """The case in the words of a side, by a persona of it: what is right does not depend on either."""
    wants = tuple(_worded(domain, want, side) for want in case.wants)
    if persona is not None:
        case = replace(case, persona=persona.id, claims=dict(persona.claims))
    return compute(domain, replace(case, wants=wants))


def _worded(domain: Domain, want: Want, side: Side) -> Want:
    allowed = wordings(domain, want.wish, side)
    otherwise = _worded(domain, want.otherwise, side) if want.otherwise else None
    return replace(want, words=allowed[want.words % len(allowed)], otherwise=otherwise)


def wordings(domain: Domain, wish: str, side: Side) -> list[int]:
    """Numbers of the wordings of a side; a wish with one wording has it on both."""
    numbers = list(range(len(domain.wishes[wish].words)))
    return _part(numbers, lambda n: f"{wish}/{n}", domain, "wording", side)


def personas(domain: Domain, side: Side) -> list[Persona]:
    """The domain's personas of a side."""
    return _part(list(domain.personas), lambda p: p.id, domain, "persona", side)


def _part(items: list[T], key: Callable[[T], str], domain: Domain, by: str, side: Side) -> list[T]:
    if by not in domain.holdout.by or len(items) < 2 or domain.holdout.share == 0:
        return items
    n = min(len(items) - 1, max(1, round(domain.holdout.share * len(items))))
    held = sorted(items, key=lambda item: hashlib.sha256(f"{domain.domain}/{by}/{key(item)}".encode()).digest())[:n]
    return [item for item in items if (item in held) == (side is Side.HELD_OUT)]
