"""Patches: what a branch changes of its parent's case, and which ones a case offers.

A patch changes the state, what the caller claims of it, the clock, who calls, a wish or a fallback, or what is
withheld. They are drawn rule by rule, so that a rule with few cells comes up as often as one with many. Which of them
are any good, `branches.accept` says.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from flywheel_domains.behaviour import GIVES_WAY, Behaviour, Result
from flywheel_domains.case import Case, Edit, Ending, Want
from flywheel_domains.domain import Domain
from flywheel_domains.draws import wishes_for
from flywheel_domains.edits import asked_call, example_edits, example_said, flips, merged
from flywheel_domains.errors import ExprError
from flywheel_domains.expr import Cell
from flywheel_domains.model import Rule
from flywheel_domains.rules import read, scope_of
from flywheel_domains.slots import NoCandidate, Tie
from flywheel_domains.values import plain
from flywheel_domains.wishes import Drawing, NotDrawn, caller_of, draw_want, drawing_of
from flywheel_domains.world import World

MOST_WANTS = 4
"""Wishes of one conversation: more are no longer one."""
TRIES = 40
"""Patches that are tried for one child."""
SHIFTS = tuple(timedelta(hours=hours) for hours in (1, 2, 6, 12, 24, 25, 48, 72, 24 * 8, 24 * 15, 24 * 31, 24 * 366))
"""By how much the clock is set forward or back: the least that puts a rule on its other side."""


class PatchKind(StrEnum):
    """What a patch changes."""

    STATE = "state"
    CLAIM = "claim"
    CLOCK = "clock"
    CALLER = "caller"
    WISH = "wish"
    ELSE = "else"
    HIDE = "hide"


@dataclass(frozen=True)
class Patch:
    """One change of a case.

    `at` is the want that it is about, `before` puts a new want in front of it, `said` are other values of its slots.
    """

    kind: PatchKind
    edits: tuple[Edit, ...] = ()
    want: Want | None = None
    at: int = 0
    before: bool = False
    slots: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict)
    said: Mapping[str, Any] = field(default_factory=dict)
    now: str | None = None
    caller: str | None = None
    caller_kind: str | None = None
    knows: Mapping[str, Any] = field(default_factory=dict)

    def on(self, case: Case) -> Case:
        """The case with the change."""
        case = replace(case, edits=merged(case.edits, self.edits), claims={**case.claims, **self.claims})
        wants = list(case.wants)
        if self.kind is PatchKind.WISH and self.want is not None:
            wants.insert(self.at if self.before else self.at + 1, self.want)
        elif self.kind is PatchKind.ELSE and self.want is not None:
            wants[self.at] = _with_fallback(wants[self.at], self.want)
        elif self.kind is PatchKind.HIDE:
            wants[self.at] = replace(wants[self.at], hidden=wants[self.at].hidden | self.slots)
        elif self.said:
            wants[self.at] = replace(wants[self.at], said={**wants[self.at].said, **self.said})
        case = replace(case, wants=tuple(wants), now=self.now or case.now)
        if self.caller is None:
            return case
        return replace(case, caller=self.caller, kind=self.caller_kind or case.kind, knows=dict(self.knows))


def _with_fallback(want: Want, fallback: Want) -> Want:
    if want.otherwise is None:
        return replace(want, otherwise=fallback)
    return replace(want, otherwise=_with_fallback(want.otherwise, fallback))


def composed(root: Case, patches: tuple[Patch, ...]) -> Case:
    """A root with the patches of all ancestors, in their order."""
    for patch in patches:
        root = patch.on(root)
    return root


def proposals(
    domain: Domain, world: World, found: Behaviour, rng: random.Random, kind: PatchKind | None = None
) -> Iterator[Patch]:
    """Patches of a case in a random order of kinds."""
    kinds = [kind] if kind is not None else list(_PROPOSALS)
    rng.shuffle(kinds)
    sources = [_PROPOSALS[each](domain, world, found, rng) for each in kinds]
    while sources:
        for source in list(sources):
            try:
                yield next(source)
            except StopIteration:
                sources.remove(source)


def _read_rules(domain: Domain, found: Behaviour, rng: random.Random) -> Iterator[tuple[Rule, Result]]:
    """Each rule that was looked at, once, with one of the results where it was."""
    names = sorted(found.read)
    for name in rng.sample(names, len(names)):
        yield domain.rule(name), rng.choice([r for r in found.results if name in r.decision.read])


def _states(domain: Domain, world: World, found: Behaviour, rng: random.Random) -> Iterator[Patch]:
    """Another verdict on some wish by what a rule reads: by its own examples, or one cell."""
    for rule, result in _read_rules(domain, found, rng):
        fires = rule.id in result.decision.fired
        patch = None
        examples = [e for e in rule.examples if e.fires is not fires]
        if examples:
            example = rng.choice(examples)
            said = example_said(domain, result, example)
            edits = example_edits(domain, result, example)
            own = result.option is found.case.wants[result.want]
            if said is not None and (edits or said) and (own or not said):
                patch = Patch(PatchKind.STATE, edits, at=result.want, said=said)
        if patch is None:
            edits = next(flips(domain, result, rule, not fires, rng), ())
            patch = Patch(PatchKind.STATE, edits, at=result.want) if edits else None
        if patch is not None:
            yield patch


def _claims(domain: Domain, world: World, found: Behaviour, rng: random.Random) -> Iterator[Patch]:
    """Another state, of which the caller says that it is as it was: who believes them is wrong."""
    for patch in _states(domain, world, found, rng):
        claimed = {}
        for edit in patch.edits:
            old = (found.start.view().values(edit.table, edit.row) or {}).get(edit.column)
            kind = domain.columns[edit.table].get(edit.column)
            sayable = kind is not None and kind.kind in ("enum", "bool", "int", "string")
            if sayable and old is not None and plain(old) != plain(edit.value):
                claimed[edit.column] = plain(old)
        if claimed:
            yield replace(patch, kind=PatchKind.CLAIM, claims=claimed)


def _clocks(domain: Domain, world: World, found: Behaviour, rng: random.Random) -> Iterator[Patch]:
    """The least shift of the clock that puts a rule about time on its other side.

    Nothing else that decides passes from the future to the past by it: a flight that is planned has not left.
    """
    now = found.start.now or domain.clock.moment
    for rule, result in _read_rules(domain, found, rng):
        call, limits = asked_call(domain, result), result.option.limits
        reading = read(domain, rule, scope_of(domain, result.world, result.session, call, None, limits))
        own = {cell for cell in reading.cells if _moment(result.world, cell) is not None}
        if not own or reading.holds is None:
            continue
        others = [_moment(found.start, cell) for cell in found.proof - own]
        for shift in sorted((sign * each for each in SHIFTS for sign in (1, -1)), key=abs):
            then = now + shift
            if any(at is not None and (at < now) != (at < then) for at in others):
                continue
            after = scope_of(domain, result.world.at(then), result.session, call, None, limits)
            if read(domain, rule, after).holds is (not reading.holds):
                yield Patch(PatchKind.CLOCK, at=result.want, now=then.isoformat(timespec="minutes"))
                break


def _moment(world: World, cell: Cell) -> datetime | None:
    """The moment that a cell holds; of a date, its beginning."""
    value = (world.view().values(cell.table, cell.row) or {}).get(cell.column) if cell.row != "*" else None
    if isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else None


def _callers(domain: Domain, world: World, found: Behaviour, rng: random.Random) -> Iterator[Patch]:
    """Somebody else asks the same about the same rows; what is their own in it becomes theirs."""
    case = found.case
    if any(option.described for want in case.wants for option in want.chain()):
        return
    for kind in rng.sample(sorted(domain.callers), len(domain.callers)):
        try:
            caller, _, knows = caller_of(domain, world, rng, kind)
        except NotDrawn:
            return
        own = [n for n, slot in domain.wishes[case.wants[0].wish].slots.items() if slot.way == "caller"]
        alone = len(case.wants) == 1 and case.wants[0].otherwise is None
        if caller != case.caller and (alone or not own):
            said = {name: caller for name in own if name in case.wants[0].said}
            yield Patch(PatchKind.CALLER, caller=caller, caller_kind=kind, knows=knows, said=said)


def _hides(domain: Domain, world: World, found: Behaviour, rng: random.Random) -> Iterator[Patch]:
    """A value that the caller told and now tells only when asked."""
    for at, want in enumerate(found.case.wants):
        slots = domain.wishes[want.wish].slots
        names = [n for n in want.said if n not in want.hidden and slots[n].way not in ("caller", "value")]
        for name in rng.sample(names, len(names)):
            yield Patch(PatchKind.HIDE, at=at, slots=frozenset({name}))


def _elses(domain: Domain, world: World, found: Behaviour, rng: random.Random) -> Iterator[Patch]:
    """What is wanted if a wish that is refused now cannot be had."""
    ends = {result.want: result for result in found.results}
    for at, result in ends.items():
        if result.ending in GIVES_WAY and len(found.case.wants[at].chain()) < 3:
            for want in _wants(domain, found, rng):
                yield Patch(PatchKind.ELSE, want=want, at=at)


def _more(domain: Domain, world: World, found: Behaviour, rng: random.Random) -> Iterator[Patch]:
    """One more wish, before or after the others."""
    if len(found.case.wants) >= MOST_WANTS:
        return
    handed = any(result.ending is Ending.HANDED_OVER for result in found.results)
    for want in _wants(domain, found, rng):
        before = handed or rng.random() < 0.5
        yield Patch(PatchKind.WISH, want=want, at=0 if before else len(found.case.wants) - 1, before=before)


def _wants(domain: Domain, found: Behaviour, rng: random.Random) -> Iterator[Want]:
    """Wishes for one rule after the other, those first that nothing has looked at yet."""
    at: Drawing = drawing_of(domain, found.start, rng, found.case)
    rules = [rule for rule in domain.rules if rule.verdict and rule.verdict != "identify"]
    rng.shuffle(rules)
    rules.sort(key=lambda rule: rule.id in found.read)
    for number in range(TRIES):
        names = list(wishes_for(domain, rules[number % len(rules)] if rules else None))
        try:
            if names:
                yield draw_want(at, rng.choice(names))
        except (NotDrawn, Tie, NoCandidate, ExprError):
            continue


_PROPOSALS: dict[PatchKind, Callable[[Domain, World, Behaviour, random.Random], Iterator[Patch]]] = {
    PatchKind.STATE: _states,
    PatchKind.CLAIM: _claims,
    PatchKind.CLOCK: _clocks,
    PatchKind.CALLER: _callers,
    PatchKind.HIDE: _hides,
    PatchKind.ELSE: _elses,
    PatchKind.WISH: _more,
}
