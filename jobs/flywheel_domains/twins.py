"""Twins: the same words and the same policy document, another state, another verdict.

Whoever answers by the words or by the document alone is right in one of the two and wrong in the other. The twin of a
conditional rule differs in one cell that the rule reads. An unconditional rule reads none: its twin is a cell by which
another rule takes its place, else another caller, or the nearest thing that may be asked for. What a caller claims is
no twin: no rule reads it, so it decides nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from flywheel_domains.behaviour import Behaviour, Result, Unidentifiable, behave
from flywheel_domains.case import Case, Edit, Want
from flywheel_domains.decide import Circle
from flywheel_domains.domain import Domain
from flywheel_domains.draws import problem
from flywheel_domains.edits import example_edits, flips, merged
from flywheel_domains.errors import ExprError
from flywheel_domains.model import Rule
from flywheel_domains.slots import NoCandidate, Tie
from flywheel_domains.wishes import NotDrawn, caller_of
from flywheel_domains.world import World

MOST_TRIED = 24
"""Changed cells that are tried for one twin."""


class How(StrEnum):
    """In what a twin differs."""

    CELL = "cell"
    CALLER = "caller"
    ACT = "act"


@dataclass(frozen=True)
class Twin:
    """A case beside another, and its behaviour; `rule` decides in one of them and not in the other."""

    how: How
    rule: str
    edits: tuple[Edit, ...]
    found: Behaviour


def twin_of(domain: Domain, world: World, found: Behaviour, rng: random.Random) -> Twin | None:
    """A twin of a case, None if none was found within the bounds."""
    tried = 0
    for result, rule in _deciding(domain, found, rng):
        fires = rule.id in result.decision.fired
        for edits in _changes(domain, result, rule, not fires, rng):
            tried += 1
            other = changed(domain, world, found.case, edits)
            if other is not None and differs(found, other) and not problem(domain, other):
                return Twin(How.CELL, rule.id, edits, other)
            if tried >= MOST_TRIED:
                break
    return _otherwise(domain, world, found, rng)


def _deciding(domain: Domain, found: Behaviour, rng: random.Random) -> Iterator[tuple[Result, Rule]]:
    """Rules by which a result could be another: first those that were the last word, then any of the others.

    In their own order the first would decide nearly every twin: whose it is, after which nothing else is looked at.
    """
    for result in reversed(found.results):
        silent = [rule for rule in result.decision.read if rule not in result.decision.fired]
        for name in dict.fromkeys([*result.rules, *rng.sample(silent, len(silent))]):
            rule = domain.rule(name)
            if rule.verdict != "identify" and (rule.when is not None or rule.unless is not None):
                yield result, rule


def _changes(domain: Domain, result: Result, rule: Rule, fires: bool, rng: random.Random) -> Iterator[tuple[Edit, ...]]:
    """One cell that puts the rule on the other side; the author's example where it takes more than one."""
    yield from flips(domain, result, rule, fires, rng)
    for example in rule.examples:
        if example.fires is fires:
            edits = example_edits(domain, result, example)
            if edits:
                yield edits


def changed(domain: Domain, world: World, case: Case, edits: tuple[Edit, ...]) -> Behaviour | None:
    """The behaviour with some cells changed; None if that is no state of this world, or no task."""
    after = replace(case, edits=merged(case.edits, edits))
    try:
        return behave(domain, world, after)
    except (Tie, NoCandidate, Unidentifiable, Circle, ValueError, ExprError):
        return None


def differs(one: Behaviour, other: Behaviour) -> bool:
    """Whether another thing is right: another ending, or the same for another reason."""
    return one.endings != other.endings or [r.rules for r in one.results] != [r.rules for r in other.results]


def _otherwise(domain: Domain, world: World, found: Behaviour, rng: random.Random) -> Twin | None:
    """A twin of an unconditional rule: somebody else calls, or the nearest other thing is asked for."""
    result = found.results[-1] if found.results else None
    if result is None or not result.rules:
        return None
    for case, how in (*_callers(domain, world, found.case, rng), *_acts(domain, found.case)):
        try:
            other = behave(domain, world, case)
        except (Tie, NoCandidate, Unidentifiable, Circle, ValueError, ExprError, NotDrawn):
            continue
        if differs(found, other) and not problem(domain, other):
            return Twin(how, result.rules[0], (), other)
    return None


def _callers(domain: Domain, world: World, case: Case, rng: random.Random) -> Iterator[tuple[Case, How]]:
    if any(option.described for want in case.wants for option in want.chain()):
        return
    try:
        caller, _, knows = caller_of(domain, world, rng, case.kind)
    except NotDrawn:
        return
    if caller != case.caller:
        yield replace(case, caller=caller, knows=knows), How.CALLER


def _acts(domain: Domain, case: Case) -> Iterator[tuple[Case, How]]:
    """The last want with another goal that takes the same values."""
    *before, last = case.wants
    for name, wish in domain.wishes.items():
        given = set(last.said) | set(last.described)
        if name != last.wish and set(wish.slots) <= given:
            said = {key: value for key, value in last.said.items() if key in wish.slots}
            want = Want(name, said, last.described, last.hidden & set(said), words=0)
            yield replace(case, wants=(*before, want)), How.ACT
