"""Branches: patches on a case that change what a right agent must do, composed over all ancestors.

A patch changes the state, adds a wish or a fallback, withholds or forgets a value, or claims what is not so. A child is
accepted only if more must be found out than in its parent, and nothing that its ancestors demand is lost: so depth
means more conditions at once, longer right ways, and more rules in force.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Any

from flywheel_api.records.agentic import BranchKind
from flywheel_domains.behaviour import Behaviour, Unidentifiable, behave
from flywheel_domains.case import REFUSED, Case, Ending, Verdict
from flywheel_domains.decide import Circle
from flywheel_domains.domain import Domain
from flywheel_domains.draws import problem
from flywheel_domains.errors import ExprError
from flywheel_domains.expr import Cell
from flywheel_domains.lookups import Path, Unprovable, path_of
from flywheel_domains.patches import TRIES, Patch, PatchKind, proposals
from flywheel_domains.rules import refuses, scope_of
from flywheel_domains.slots import NoCandidate, Tie
from flywheel_domains.twins import changed
from flywheel_domains.words import document
from flywheel_domains.world import World


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
    if child.depth.cells == parent.depth.cells:
        return "it asks nothing more than its parent"
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
        found = changed(domain, world, case, patch.edits) if patch.edits else behave(domain, world, case)
        if found is None:
            return None
        return branch(domain, found, (*parent.patches, patch))
    except (Tie, NoCandidate, Unidentifiable, Circle, Unprovable, ValueError, ExprError):
        return None


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
    if any(result.wrote for result in found.results) and REFUSED & set(found.endings):
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
