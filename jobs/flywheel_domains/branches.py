"""Branches: patches on a case that change what a right agent must do, composed over all ancestors.

A patch changes the state, adds a wish or a fallback, withholds or forgets a value, or claims what is not so. A child is
accepted only if its proof differs from its parent's, and nothing that its ancestors demand is lost: so depth means more
conditions at once, longer right ways, and more rules in force.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from flywheel_api.records.agentic import BranchKind
from flywheel_domains.behaviour import GIVES_WAY, Behaviour, Unidentifiable, behave
from flywheel_domains.case import Case, Edit, Ending, Verdict, Want
from flywheel_domains.decide import Circle
from flywheel_domains.domain import Domain
from flywheel_domains.draws import problem
from flywheel_domains.edits import example_edits, flips, merged
from flywheel_domains.errors import ExprError
from flywheel_domains.expr import Cell
from flywheel_domains.lookups import Path, Unprovable, path_of
from flywheel_domains.rules import refuses, scope_of
from flywheel_domains.slots import NoCandidate, Tie
from flywheel_domains.twins import changed
from flywheel_domains.wishes import Drawing, NotDrawn, draw_want, drawing_of
from flywheel_domains.words import document
from flywheel_domains.world import World

MOST_WANTS = 4
"""Wishes of one conversation: more are no longer one."""
TRIES = 40
"""Patches that are tried for one child."""


class PatchKind(StrEnum):
    """What a patch changes."""

    STATE = "state"
    WISH = "wish"
    ELSE = "else"
    HIDE = "hide"


@dataclass(frozen=True)
class Patch:
    """One change of a case. `at` is the want that it is about, `before` puts a new want in front of it."""

    kind: PatchKind
    edits: tuple[Edit, ...] = ()
    want: Want | None = None
    at: int = 0
    before: bool = False
    slots: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict)

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
        return replace(case, wants=tuple(wants))


def _with_fallback(want: Want, fallback: Want) -> Want:
    if want.otherwise is None:
        return replace(want, otherwise=fallback)
    return replace(want, otherwise=_with_fallback(want.otherwise, fallback))


def composed(root: Case, patches: tuple[Patch, ...]) -> Case:
    """A root with the patches of all ancestors, in their order."""
    for patch in patches:
        root = patch.on(root)
    return root


@dataclass(frozen=True)
class Depth:
    """How much a case asks of an agent.

    `cells` to be seen, `steps` of the right way, `rules` that had to be looked at (and stand in the policy document),
    `wants` that end.
    """

    cells: int
    steps: int
    rules: int
    wants: int

    def covers(self, other: Depth) -> bool:
        """Whether nothing is less than there."""
        return self.cells >= other.cells and self.steps >= other.steps and self.rules >= other.rules


@dataclass(frozen=True)
class Branch:
    """A case that was made from another by one patch (none: a root), with its right way."""

    patches: tuple[Patch, ...]
    found: Behaviour
    path: Path
    depth: Depth

    @property
    def case(self) -> Case:
        """The case."""
        return self.found.case

    @property
    def proof_id(self) -> str:
        """Digest of what must be seen and asked."""
        text = "\n".join("/".join(cell) for cell in sorted(demands(self.found)))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def demands(found: Behaviour) -> frozenset[Cell]:
    """What a right agent must find out: the cells of the proof, and what only the caller can say."""
    asked = {Cell("caller", str(r.want), slot) for r in found.results for slot in r.asked}
    return found.proof | asked


def depth_of(domain: Domain, found: Behaviour, path: Path) -> Depth:
    """The measures of a behaviour."""
    rules = found.read | found.rules
    return Depth(len(demands(found)), len(path.steps), len(rules), len({result.want for result in found.results}))


def branch(domain: Domain, found: Behaviour, patches: tuple[Patch, ...] = ()) -> Branch:
    """The branch of a behaviour. Raises Unprovable."""
    path = path_of(domain, found)
    return Branch(patches, found, path, depth_of(domain, found, path))


def accept(domain: Domain, parent: Branch, child: Branch) -> str:
    """Why a child is not accepted, "" if it is."""
    fault = problem(domain, child.found)
    if fault:
        return fault
    if demands(child.found) == demands(parent.found):
        return "a right agent must know nothing else than before"
    if not child.depth.covers(parent.depth):
        return "it asks less than its parent"
    if set(document(domain, parent.case)) - set(document(domain, child.case)) - _distractors(domain, parent):
        return "rules of an ancestor are no longer in force"
    return ""


def _distractors(domain: Domain, parent: Branch) -> set[str]:
    goals = {domain.wishes[option.wish].goal for want in parent.case.wants for option in want.chain()}
    core = {rule.id for goal in goals for rule in domain.rules_of(goal)}
    return set(document(domain, parent.case)) - core


def grow(
    domain: Domain, world: World, parent: Branch, rng: random.Random, kind: PatchKind | None = None
) -> Branch | None:
    """An accepted child, None if none was found. `kind` asks for one kind of patch."""
    for number, patch in enumerate(proposals(domain, world, parent.found, rng, kind)):
        if number >= TRIES:
            break
        child = attempt(domain, world, parent, patch)
        if child is not None and not accept(domain, parent, child):
            return child
    return None


def attempt(domain: Domain, world: World, parent: Branch, patch: Patch) -> Branch | None:
    """The branch with a patch, accepted or not; None if it is no task."""
    case = patch.on(parent.case)
    try:
        if patch.kind is PatchKind.STATE:
            found = changed(domain, world, parent.case, patch.edits)
            if found is None:
                return None
            found = replace(found, case=replace(found.case, claims=case.claims))
        else:
            found = behave(domain, world, case)
        return branch(domain, found, (*parent.patches, patch))
    except (Tie, NoCandidate, Unidentifiable, Circle, Unprovable, ValueError, ExprError):
        return None


def proposals(
    domain: Domain, world: World, found: Behaviour, rng: random.Random, kind: PatchKind | None = None
) -> Iterator[Patch]:
    """Patches of a case in a random order of kinds; which of them are any good, `accept` says."""
    kinds = [kind] if kind is not None else list(_PROPOSALS)
    rng.shuffle(kinds)
    sources = [_PROPOSALS[each](domain, world, found, rng) for each in kinds]
    while sources:
        for source in list(sources):
            try:
                yield next(source)
            except StopIteration:
                sources.remove(source)


def _states(domain: Domain, world: World, found: Behaviour, rng: random.Random) -> Iterator[Patch]:
    """Another verdict on some wish by a cell that a rule reads; the caller may claim that it is as it was."""
    for result in rng.sample(found.results, len(found.results)):
        for name in rng.sample(result.decision.read, len(result.decision.read)):
            rule = domain.rule(name)
            fires = name in result.decision.fired
            examples = [e for e in rule.examples if e.fires is not fires]
            if examples:
                edits = example_edits(domain, result, rng.choice(examples))
            else:
                edits = next(flips(domain, result, rule, not fires, rng), ())
            if edits:
                yield Patch(PatchKind.STATE, edits, at=result.want)


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
            for want in _wants(domain, found, world, rng):
                yield Patch(PatchKind.ELSE, want=want, at=at)


def _more(domain: Domain, world: World, found: Behaviour, rng: random.Random) -> Iterator[Patch]:
    """One more wish, before or after the others."""
    if len(found.case.wants) >= MOST_WANTS:
        return
    handed = any(result.ending is Ending.HANDED_OVER for result in found.results)
    for want in _wants(domain, found, world, rng):
        before = handed or rng.random() < 0.5
        yield Patch(PatchKind.WISH, want=want, at=0 if before else len(found.case.wants) - 1, before=before)


def _wants(domain: Domain, found: Behaviour, world: World, rng: random.Random) -> Iterator[Want]:
    at: Drawing = drawing_of(domain, found.start, rng, found.case)
    for _ in range(TRIES):
        try:
            yield draw_want(at, rng.choice(list(domain.wishes)))
        except (NotDrawn, Tie, NoCandidate):
            continue


_PROPOSALS = {PatchKind.STATE: _states, PatchKind.HIDE: _hides, PatchKind.ELSE: _elses, PatchKind.WISH: _more}


# ---- what kind of branch a case is


def kinds_of(domain: Domain, found: Behaviour) -> frozenset[BranchKind]:
    """Every kind of docs/method.md that a case is an example of, computed."""
    kinds: set[BranchKind] = set()
    for result in found.results:
        if result.asked:
            kinds.add(BranchKind.CONFLICTING if result.verdict is Verdict.ASK else BranchKind.MISSING_DATA)
        if result.ending is Ending.REPLACED:
            kinds.add(BranchKind.VARIATION)
        if result.ending is Ending.HANDED_OVER:
            kinds.add(BranchKind.ESCALATION)
        if result.ending is Ending.IMPOSSIBLE:
            kinds.add(BranchKind.VALIDATION)
        if result.ending is Ending.DENIED:
            kinds |= _denials(domain, result)
    endings = {result.wrote for result in found.results}
    if endings == {True, False}:
        kinds.add(BranchKind.MIXED)
    return frozenset(kinds) or frozenset({BranchKind.NORMAL})


def _denials(domain: Domain, result: Any) -> set[BranchKind]:
    kinds: set[BranchKind] = set()
    for name in result.rules:
        rule = domain.rule(name)
        test = rule.when or rule.unless
        if rule.verdict == "ask":
            kinds.add(BranchKind.CONFLICTING)
        elif test is None:
            kinds.add(BranchKind.PROHIBITED)
        elif "caller" in test.names:
            kinds.add(BranchKind.UNAUTHORISED)
        elif {"now", "today"} & test.names:
            kinds.add(BranchKind.OUT_OF_WINDOW)
        else:
            kinds.add(BranchKind.VALIDATION if rule.enforced else BranchKind.PRECONDITION)
    if is_trap(domain, result):
        kinds.add(BranchKind.TRAP)
    return kinds or {BranchKind.PRECONDITION}


def is_trap(domain: Domain, result: Any) -> bool:
    """Whether the tool would do what a rule forbids: whoever tries, succeeds, and is wrong."""
    if result.ending is not Ending.DENIED or result.call.name not in domain.tools:
        return False
    try:
        scope = scope_of(domain, result.world, result.session, result.call)
        error, _ = refuses(domain, scope, result.call)
    except (ExprError, ValueError):
        return False
    return error == ""
