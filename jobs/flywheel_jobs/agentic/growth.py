"""Branches below a case, as a tree holds them: offered by the domain, accepted by replay (`flywheel_domains.branches`).

A child goes deeper when a right agent must find out more than in its parent, and nothing that its ancestors demand is
lost. A patch after which merely something else is right makes a branch beside the parent's, at the parent's depth, and
one after which less is to be found out begins anew: so depth is never only a label.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Any

from pydantic import TypeAdapter

from flywheel_api.records.agentic import Branch, BranchKind
from flywheel_api.records.base import content_digest
from flywheel_domains import branches
from flywheel_domains.behaviour import Result
from flywheel_domains.case import Edit
from flywheel_domains.draws import problem
from flywheel_domains.generate import build_world
from flywheel_domains.patches import Patch, PatchKind, proposals
from flywheel_domains.values import plain
from flywheel_jobs.agentic import balance, kinds
from flywheel_jobs.agentic.right import Right, has_room

_PATCH = TypeAdapter(Patch)
TRIED = 4  # patches that are tried for each branch that is wanted
SAME, INVALID, NO_ROOM = "same-behaviour", "no-task", "no-room"


@dataclass(frozen=True)
class Offer:
    """A branch that the domain accepts, the case that it makes, and how it stands to its parent.

    `deeper`: more must be found out; `keeps`: nothing less.
    """

    branch: Branch
    right: Right
    deeper: bool
    keeps: bool
    depth: branches.Depth

    @property
    def kind(self) -> BranchKind:
        """Its kind."""
        return self.branch.kind

    def level(self, parents: int) -> int:
        """Its depth below a parent of that depth."""
        return parents + self.deeper if self.keeps else 1

    @cached_property
    def legal(self) -> bool:
        """Whether what is wished is allowed."""
        return kinds.legal(self.right)


def offers(
    right: Right,
    rng: random.Random,
    most: int,
    asked: Callable[[Right], bool] = lambda _: False,
    longest: bool = True,
) -> list[Offer]:
    """Different branches of a case that nobody was `asked`, at most so many.

    Deeper ones go first, of these allowed and not allowed ones in turn. Of each side the `longest` right ways are
    offered, or the shortest, kinds in turn. Of branches with one workflow one is offered: a tree could hold little else
    than the same withheld, one value after the other.
    """
    seen = {mark(right)}
    found: list[Offer] = []
    above = branches.branch(right.domain, right.behaviour)
    for patch in islice(_patches(right, rng), TRIED * most):
        made = accepted(right, patch, above=above)
        if isinstance(made, Offer) and mark(made.right) not in seen and not asked(made.right):
            seen.add(mark(made.right))
            found.append(made)
    found.sort(key=lambda o: (o.depth.steps, o.depth.cells), reverse=longest)
    found = balance.first_of(found, lambda o: o.right.workflow)
    ordered: list[Offer] = []
    for deeper in (True, False):
        sides = ([o for o in found if o.deeper is deeper and o.legal is legal][:most] for legal in (True, False))
        ordered += balance.turns(chain.from_iterable(sides), lambda o: o.legal, lambda o: o.kind)
    return ordered[:most]


def accepted(parent: Right, patch: Patch, condition: str = "", above: branches.Branch | None = None) -> Offer | str:
    """The branch that a patch makes, or why it makes none; `above` is the parent with its way, where it is at hand."""
    domain = parent.domain
    above = above or branches.branch(domain, parent.behaviour)
    below = branches.attempt(domain, build_world(domain, parent.case.seed), above, patch)
    if below is None or problem(domain, below.found):
        return INVALID
    child = Right(domain, below.case, below.found)
    if mark(child) == mark(parent):
        return SAME
    if not has_room(child):
        return NO_ROOM
    kind = kinds.added_kind(parent, child)
    dumped = _PATCH.dump_python(patch, mode="json", exclude_defaults=True)
    branch = Branch(
        id=f"{kind.value}-{content_digest(dumped)[:6]}",
        kind=kind,
        condition=(condition or condition_of(parent, child, patch))[:400],
        patch=dumped,
    )
    deeper, keeps = not branches.accept(domain, above, below), below.depth.covers(above.depth)
    return Offer(branch, child, deeper, keeps, below.depth)


def asks_no_less(parent: Right, child: Right) -> bool:
    """Whether no less is asked of a right agent in the child. Raises Unprovable."""
    above, below = (branches.branch(right.domain, right.behaviour).depth for right in (parent, child))
    return below.covers(above)


def state_patch(cells: Sequence[dict[str, Any]]) -> Patch:
    """A patch of cells, as a teacher writes them."""
    return Patch(PatchKind.STATE, tuple(Edit(c["table"], c["row"], c["column"], c["value"]) for c in cells))


def _patches(right: Right, rng: random.Random) -> Iterator[Patch]:
    """Patches, the ways in turn; where an episode has no room for a user or a second wish, states come first."""
    world = build_world(right.domain, right.case.seed)
    if not right.domain.prompt.compact:
        return proposals(right.domain, world, right.behaviour, rng)
    ways = (PatchKind.STATE, PatchKind.HIDE)
    return chain.from_iterable(proposals(right.domain, world, right.behaviour, rng, way) for way in ways)


def mark(right: Right) -> str:
    """What is right, as far as it makes a difference: ends, conditions that hold, questions, cells and their values."""
    results = right.behaviour.results
    said = [[str(r.ending), r.call.name, sorted(r.decision.fired), list(r.asked), _values(r)] for r in results]
    return content_digest(said)


def _values(result: Result) -> list[str]:
    view = result.world.view()
    return [f"{c}={plain((view.values(c.table, c.row) or {}).get(c.column))}" for c in sorted(result.proof)]


def condition_of(parent: Right, child: Right, patch: Patch) -> str:
    """A branch's condition in a sentence: the rule that now holds, or no longer does, or what the user does."""
    if patch.kind is PatchKind.HIDE:
        return f"The user says {' and '.join(sorted(patch.slots)).replace('_', ' ')} only when asked."
    if patch.kind is PatchKind.CLOCK:
        return f"It is {patch.now}. {_other_rules(parent, child)}"
    if patch.kind is PatchKind.CALLER:
        return f"Somebody else asks. {_other_rules(parent, child)}"
    if patch.kind is PatchKind.CLAIM:
        said = " and ".join(f"{name.replace('_', ' ')} {value}" for name, value in patch.claims.items())
        return f"The user claims {said}. {_other_rules(parent, child)}"
    if patch.want is not None:
        wish = patch.want.wish.replace("_", " ")
        return f"The user {'also' if patch.kind is PatchKind.WISH else 'otherwise'} wishes: {wish}."
    return _other_rules(parent, child)


def _other_rules(parent: Right, child: Right) -> str:
    before, after = _fired(parent), _fired(child)
    new = [child.domain.rule(name).say for name in sorted(after - before)]
    gone = [f"It is not so that: {child.domain.rule(name).say}" for name in sorted(before - after)]
    return " ".join([*new, *gone]) or "Another value leads to the same."


def _fired(right: Right) -> set[str]:
    return {rule for result in right.behaviour.results for rule in result.decision.fired}
