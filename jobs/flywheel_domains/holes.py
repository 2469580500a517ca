"""What an author overlooked: a forbidden end that two allowed calls reach, and wishes whose order decides.

Both are searches from a drawn case. A loophole is closed by a rule about the session (`session.did`,
`session.changed`), or said to be meant: `loophole: [tools that may come first]`, `allowed` for whatever comes first. An
order that decides is stated in the words.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

from flywheel_domains.behaviour import Behaviour, Result, Unidentifiable, behave
from flywheel_domains.case import Call, Case, Ending, Verdict, Want
from flywheel_domains.decide import Circle, Situation, decide
from flywheel_domains.diff import Diff, diff
from flywheel_domains.domain import Domain
from flywheel_domains.errors import ExprError
from flywheel_domains.session import Session
from flywheel_domains.slots import NoCandidate, Tie
from flywheel_domains.tools import call as call_tool
from flywheel_domains.unknown import is_unknown
from flywheel_domains.wishes import NotDrawn, draw_want, drawing_of
from flywheel_domains.world import World

FIRST_CALLS = 24
"""Allowed calls that are tried as a first step."""


@dataclass(frozen=True)
class Loophole:
    """`calls` are allowed one after the other, and then the database is as the rules of the refused call deny."""

    rules: tuple[str, ...]
    denied: Call
    calls: tuple[Call, ...]


def loopholes(domain: Domain, found: Behaviour, rng: random.Random) -> list[Loophole]:
    """Ways round the refusals of a case by two allowed calls."""
    holes = []
    for result in found.results:
        meant = {name for rule in result.rules for name in domain.rule(rule).loophole}
        if result.ending is Ending.DENIED and result.call.name in domain.tools and "allowed" not in meant:
            hole = _hole(domain, found.case, result, meant, rng)
            if hole is not None:
                holes.append(hole)
    return holes


def _hole(domain: Domain, case: Case, result: Result, meant: Collection[str], rng: random.Random) -> Loophole | None:
    session = result.session.with_identified(case.caller)
    denied = _change(domain, result.world, session, result.call)
    told = {**result.option.said, **result.told}  # all that the caller would say if it were to be had
    for first, after, later in _allowed(domain, case, result, result.world, session, rng):
        if first.name in meant:
            continue
        try:
            again = decide(Situation(domain, after, later, result.option, result.member), told)
        except (Tie, NoCandidate):
            continue  # after the first call the words fit several rows, or none
        same = again.call.with_args(**result.call.args) == again.call
        if again.verdict is Verdict.ALLOW and not again.why_not and same:
            return Loophole(result.rules, result.call, (first, again.call))
        if not denied:
            continue
        for second, end, _ in _allowed(domain, case, result, after, later, rng):
            if diff(result.world, end) == denied:
                return Loophole(result.rules, result.call, (first, second))
    return None


def _change(domain: Domain, world: World, session: Session, call: Call) -> Diff | None:
    if is_unknown(dict(call.args)):
        return None  # a value that a rule would set, had it been allowed
    outcome = call_tool(domain, world, session, call.name, dict(call.args))
    return diff(world, outcome.world) if outcome.refusal is None else None


def _allowed(
    domain: Domain, case: Case, result: Result, world: World, session: Session, rng: random.Random
) -> Iterator[tuple[Call, World, Session]]:
    """Allowed writes about the same rows, with world and session after each."""
    for want in _around(domain, case, result, world, rng):
        try:
            decision = decide(Situation(domain, world, session, want), dict(want.said))
            if decision.verdict is not Verdict.ALLOW or decision.why_not or decision.call.name not in domain.tools:
                continue
            outcome = call_tool(domain, world, session, decision.call.name, dict(decision.call.args))
        except (Tie, NoCandidate, Circle, ExprError, ValueError):
            continue
        if outcome.refusal is None and domain.tools[decision.call.name].writes:
            yield decision.call, outcome.world, outcome.session


def _around(domain: Domain, case: Case, result: Result, world: World, rng: random.Random) -> Iterator[Want]:
    """Wishes about the rows of a refused call: every value of an enumeration, one draw of the rest."""
    at = drawing_of(domain, world, rng, case)
    number = 0
    for name, wish in domain.wishes.items():
        try:
            want = draw_want(at, name)
        except (NotDrawn, Tie, NoCandidate, ExprError):
            continue
        shared = {
            key: result.told[key] for key, slot in wish.slots.items() if slot.way == "mine" and key in result.told
        }
        want = replace(want, said={**want.said, **shared}, hidden=frozenset(), described={}, otherwise=None)
        choices = [(key, slot) for key, slot in wish.slots.items() if slot.way == "any" and slot.any in domain.types]
        values: list[tuple[str, Any]] = [
            (key, value) for key, slot in choices for value in domain.types[slot.any or ""]
        ] or [("", None)]
        for key, value in values:
            number += 1
            if number > FIRST_CALLS:
                return
            yield replace(want, said={**want.said, **({key: value} if key else {})})


def orders(domain: Domain, world: World, case: Case) -> dict[tuple[int, ...], Diff | None]:
    """What each order of the wants comes to: the change of the database, None for an order that is no task."""
    found: dict[tuple[int, ...], Diff | None] = {}
    for order in permutations(range(len(case.wants))):
        try:
            other = behave(domain, world, replace(case, wants=tuple(case.wants[number] for number in order)))
            found[order] = diff(other.start, other.final)
        except (Tie, NoCandidate, Circle, Unidentifiable, ExprError, ValueError):
            found[order] = None
    return found


def order_decides(domain: Domain, world: World, case: Case) -> bool:
    """Whether another order of the wants comes to another end."""
    ends = list(orders(domain, world, case).values())
    return any(end != ends[0] for end in ends)
