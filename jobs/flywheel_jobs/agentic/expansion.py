"""Requests of the expanding side of the flywheel: which branches below a seed, from what the policy did on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flywheel_api.records.agentic import Seed
from flywheel_api.records.trajectory import Trajectory
from flywheel_domains.values import plain
from flywheel_jobs.agentic import balance
from flywheel_jobs.agentic.growth import Offer, accepted, state_patch
from flywheel_jobs.agentic.observed import observed
from flywheel_jobs.agentic.right import Right

SHOWN_TRAJECTORIES, SHOWN_CHARACTERS, SHOWN_CELLS = 3, 1500, 24
OFFERS_PER_BRANCH = 2
LESS = 2  # below what the policy always does right, branches are divided by this; what is saved goes to the others
UNKNOWN = "unknown-branch"

EXPAND = (
    "Extend a case into a behaviour tree. The input holds the domain, what the user wishes, the rules that decide, the "
    "cells that the right behaviour rests on, the branches that were followed from the root (parent), what the policy "
    "did (observed end groups and some trajectories, with the tools' answers), branches that the domain offers below "
    "the last one (offers; deeper: more must be found out than before; steps: how long the right way is), and how many "
    "are wanted (branches). Choose those that probe what the policy failed at, of different kinds. You may also change "
    "cells yourself, so that another rule decides. Answer JSON: picks (ids of offers, the best first) and edits (a "
    "list, each with condition, one sentence, and cells: a list of table, row, column, value)."
)


class Cell(BaseModel):
    """A cell with another value."""

    model_config = ConfigDict(extra="forbid")
    table: str
    row: str
    column: str
    value: str | int | bool | None = None


class Edit(BaseModel):
    """A branch of the Teacher's own."""

    model_config = ConfigDict(extra="forbid")
    condition: Annotated[str, Field(min_length=1, max_length=400)]
    cells: Annotated[list[Cell], Field(min_length=1, max_length=8)]


class Expansion(BaseModel):
    """What the teacher answers."""

    model_config = ConfigDict(extra="forbid")
    picks: Annotated[list[str], Field(max_length=64)]
    edits: Annotated[list[Edit], Field(max_length=16)] = []


def allotted(seeds: Sequence[Seed], rates: Mapping[str, float], per_tree: int) -> dict[str, int]:
    """Branches of each seed: fewer below what the policy always does right, more where it fails; as many in all."""
    found = {s.id: per_tree for s in seeds}
    solved = [s for s in seeds if rates.get(s.task.id, 0.0) >= 1.0]
    failed = sorted(
        (s for s in seeds if rates.get(s.task.id, 0.0) < 1.0), key=lambda s: (rates.get(s.task.id, 0), s.id)
    )
    if not failed:
        return found
    for seed in solved:
        found[seed.id] = -(-per_tree // LESS)
    for number in range(len(solved) * (per_tree // LESS)):
        found[failed[number % len(failed)].id] += 1
    return found


def payload(
    right: Right, seed: Seed, seen: Sequence[Trajectory], offered: Sequence[Offer], branches: int
) -> dict[str, object]:
    """The data of an expansion request: failures first among the trajectories that are shown."""
    shown = sorted(seen, key=lambda t: (t.score or 0.0, t.id))[:SHOWN_TRAJECTORIES]
    found = right.behaviour
    view = right.start.view()
    cells = []
    for cell in sorted(found.proof):
        row = view.values(cell.table, cell.row)
        if row is not None:
            value = plain(row.get(cell.column))
            cells.append({"table": cell.table, "row": cell.row, "column": cell.column, "value": value})
    return {
        "ask": "expand",
        "domain": right.domain.title or right.domain.domain,
        "wishes": seed.task.user.task,
        "rules": {name: right.domain.rule(name).say for name in sorted(found.read)},
        "decided_by": sorted(found.rules),
        "cells": cells[:SHOWN_CELLS],
        "parent": [{"kind": b.kind, "condition": b.condition} for b in seed.task.chain],
        "observed": observed(seen),
        "trajectories": [_shown(t, len(seed.task.messages)) for t in shown],
        "offers": [_offered(o) for o in offered],
        "branches": branches,
    }


def _offered(offer: Offer) -> dict[str, object]:
    branch = offer.branch
    return {
        "id": branch.id,
        "kind": branch.kind,
        "condition": branch.condition,
        "allowed": offer.legal,
        "deeper": offer.deeper,
        "steps": offer.depth.steps,
    }


def _shown(trajectory: Trajectory, skip: int) -> dict[str, object]:
    said = "\n".join(f"{m['role']}: {m['content']}" for m in trajectory.messages[skip:])
    calls = [f"{c.name} {c.status}: {c.output}"[:200] for c in trajectory.calls]
    return {"score": trajectory.score, "reason": trajectory.reason, "closed": trajectory.closed, "calls": calls,
            "said": said[:SHOWN_CHARACTERS]}  # fmt: skip


def chosen(
    right: Right, answer: Expansion, offered: Sequence[Offer], branches: int, refused: dict[str, int]
) -> tuple[list[Offer], list[Offer]]:
    """The branches of an answer that the domain accepts, its own edits first, then its picks, then other offers.

    With them the offers that are left: what fills up a round in which some of the others were asked before.
    """
    by_id = {o.branch.id: o for o in offered}
    found: dict[str, Offer] = {}
    for made in [*_edited(right, answer.edits), *(by_id.get(pick, UNKNOWN) for pick in answer.picks)]:
        if isinstance(made, str):
            refused[made] = refused.get(made, 0) + 1
        else:
            found.setdefault(made.branch.id, made)
    for offer in balance.turns(offered, lambda o: o.legal, lambda o: o.kind, beside=list(found.values())):
        found.setdefault(offer.branch.id, offer)
    every = list(found.values())
    return every[:branches], every[branches:]


def _edited(right: Right, edits: Iterable[Edit]) -> list[Offer | str]:
    return [accepted(right, state_patch([c.model_dump() for c in edit.cells]), edit.condition) for edit in edits]
