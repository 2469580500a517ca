"""What keeps later rounds as varied and as large as the first: found in five chained rounds of retail and airline."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from flywheel_api.records.agentic import Branch, BranchKind, Seed, Task
from flywheel_api.records.base import Lineage
from flywheel_api.round import Role
from flywheel_jobs.agentic import balance, drive, growth, kinds, pairs, rounds, targets
from flywheel_jobs.agentic.drawing import Side, draw_cases
from flywheel_jobs.agentic.right import Right
from flywheel_jobs.agentic.targets import Target, twins_of
from flywheel_jobs.stages import expand_agentic, invert_agentic, solve_agentic
from unit.agentic.context import PEOPLE, Context, Says, agentic
from unit.agentic.test_protections import drawn, tree
from unit.agentic.world import (
    ANN,
    CANCEL,
    LOCKED,
    LOOK,
    PACKAGE,
    REFUNDABLE,
    TRAP,
    WITHHELD,
    case,
    domain,
    play,
    right,
    shelf,
    task,
)


@pytest.fixture(autouse=True)
def shelves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages' packages, without a store."""
    for stage in (invert_agentic, solve_agentic):
        monkeypatch.setattr(stage, "shelf_of", lambda ctx: shelf())


def target(of: Right, kind: BranchKind, tree: str, steps: int = 1) -> Target:
    root = Branch(id="root", kind=kind, condition="x")
    return Target(tree, Lineage(operator="x"), PACKAGE, (root,), of, ANN, steps)


# ---- workflows -------------------------------------------------------------------------------------------------------
def test_a_workflow_is_what_is_wished_seen_and_called_and_why_it_ends() -> None:
    asked, elsewhere = right(WITHHELD), right(replace(case(), persona="teacher"))
    assert right().workflow == asked.workflow == elsewhere.workflow
    others = [right(of).workflow for of in (case(), LOCKED, REFUNDABLE, TRAP, case(owner="booked by another person"))]
    assert len(set(others)) == len(others)


def test_a_tree_offers_a_workflow_once() -> None:
    """A tree of three wishes could withhold one value after the other: three of seven branches."""
    repeated = 0
    for one in draw_cases(domain("airline"), Side.TRAINING, "g", 2):
        found = growth.offers(one, random.Random(1), 12)
        assert len({offer.right.workflow for offer in found}) == len(found) > 6
        patches = (growth.accepted(one, patch) for patch in growth._patches(one, random.Random(1)))
        made = [offer for _, offer in zip(range(24), patches, strict=False) if isinstance(offer, growth.Offer)]
        repeated += len(made) - len({offer.right.workflow for offer in made})
    assert repeated > 0, "the domain has some"


def test_what_has_the_workflow_of_another_one_comes_last_of_any_kind() -> None:
    plain, asks = target(right(), BranchKind.NORMAL, "a", 2), target(right(WITHHELD), BranchKind.MISSING_DATA, "a", 3)
    other = target(right(REFUNDABLE), BranchKind.NORMAL, "b")
    pools = [[plain, asks, other]]
    assert invert_agentic._balanced(pools, 2, agentic(legalShare="1")) == [asks, other]
    assert len(invert_agentic._balanced(pools, 3, agentic(legalShare="1"))) == 3
    assert invert_agentic._balanced([[plain, other]], 1, agentic(legalShare="1"), [asks]) == [other]


def test_a_twin_has_no_other_tasks_workflow_and_no_side_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    base, refused = target(right(), BranchKind.NORMAL, "a"), target(right(LOCKED), BranchKind.PRECONDITION, "b")
    made: dict[int, Right] = {}
    monkeypatch.setattr(targets, "twin", lambda of, _: pairs.Twin(made[id(of)], "locked", True))

    def twins(share: float, **of: Right) -> list[Right]:
        made.update({id(base.right): of["base"], id(refused.right): of["refused"]})
        return [t.right for t in twins_of([base, refused], random.Random(1), 4, share) if t.of]

    new, also = right(TRAP), right(case(owner="booked by another person"))
    assert twins(0.25, base=right(LOCKED), refused=new) == [new], "the other has the workflow of a task"
    assert twins(0.25, base=new, refused=right(TRAP)) == [new], "and of two twins with one workflow the first is made"
    assert twins(0.25, base=new, refused=also) == [new, also]
    assert twins(0.5, base=new, refused=also) == [new], "one allowed and one refused are missing"


def test_shares_are_those_of_all_that_is_taken() -> None:
    items, beside = [(n % 2 == 0, n) for n in range(20)], [(False, n) for n in range(100, 106)]
    found = balance.choose([items], 6, 0.5, lambda i: i[0], [lambda i: i[1]], [], beside)
    assert all(legal for legal, _ in found) and len(found) == 6


def test_trees_grow_in_all_worlds() -> None:
    """After four rounds both trees that grew were one caller's, and what was wished fell from seven things to three."""
    seeds = []
    for n, (world, legal) in enumerate([(1, True), (1, False), (1, True), (2, False)]):
        of = task().model_copy(update={"id": f"t{n}", "case": {"seed": world}, "legal": legal, "kind": f"k{n}"})
        seeds.append(Seed(id=f"s{n}", lineage=of.lineage, persona=ANN, task=of, fresh=False))
    kept = rounds.failed_first(seeds, [], 2, 2, 0.5)
    assert [(s.task.case["seed"], s.task.legal) for s in kept] == [(1, True), (2, False)]


@pytest.mark.parametrize(("allowed", "grown"), [(True, 2), (False, 4)])
async def test_more_trees_grow_while_one_side_has_too_few_branches(
    allowed: bool, grown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the long ways of a fifth round there was room for refusals alone: what is allowed was drawn, at depth 1."""
    monkeypatch.setattr(expand_agentic, "shelf_of", lambda ctx: shelf())
    full = growth.offers(right(), random.Random(1), 12)
    of = [offer for offer in full if allowed or not offer.legal]
    number = iter(range(100))
    monkeypatch.setattr(expand_agentic, "near_right", lambda *_: str(next(number)))
    monkeypatch.setattr(growth, "offers", lambda *_: of)
    seeds = [Seed(id=f"s{n}", lineage=task().lineage, persona=ANN, task=task(), fresh=False) for n in range(4)]
    ctx: Any = Context(agentic(maxTasks=4, branchesPerTree=1), {"seeds.jsonl": seeds})
    ctx.models[Role.TEACHER] = Says(Role.TEACHER, picks=[])
    made = await expand_agentic.run(ctx)
    (trees,) = made.files
    assert len(trees.content.decode().splitlines()) == grown


# ---- a reserve for what is not kept ----------------------------------------------------------------------------------
def test_a_quarter_more_is_made_in_reserve_of_both_sides() -> None:
    """What trees lack of a side is drawn for the reserve too: what was allowed and lost had a refusal in its place."""
    refused = [of.case for of in drawn(80) if not kinds.legal(of)]
    trees = [tree(task(of), n) for n, of in enumerate(refused)]
    ctx: Any = Context(agentic(maxTasks=8), {"trees.jsonl": trees, "seeds/personas.jsonl": PEOPLE})
    _, chosen, reserve = invert_agentic._chosen(ctx, ctx.agentic)
    assert len(chosen) == 8 and [t.legal for t in reserve].count(True) == 1 == len(reserve) - 1
    assert not {t.key for t in reserve} & {t.key for t in chosen}


async def test_the_reserve_stands_in_for_what_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks with long right ways are lost most: without it a round of harder tasks was a smaller one."""

    async def run(of: Task, right: Right, llm: Any, user: Any = None, **_: Any) -> Any:
        fails = of.id in ("lost", "lost too") or (of.id == "hard" and llm.role is Role.POLICY)
        return play(None, *(["I will not."] if fails else [LOOK, CANCEL]))

    monkeypatch.setattr(drive, "run", run)
    made = [named("lost", False, "trap"), named("kept", True, "normal"), named("hard", True, "normal")]
    reserve = [
        named("refused", False, "mixed"),
        named("allowed", True, "variation"),
        named("lost too", False, "trap"),
        named("alike", True, "normal"),
    ]
    band = {"low": "0.5", "samples": 1}
    assert await solved(made, [], difficulty=band) == ["kept"]
    assert await solved(made, reserve, difficulty=band) == ["kept", "alike", "refused"]
    assert await solved(made, reserve[1:2], difficulty=band) == ["kept", "allowed"]


def named(name: str, legal: bool, kind: str) -> Task:
    return task().model_copy(update={"id": name, "legal": legal, "kind": BranchKind(kind)})


async def solved(made: Sequence[Task], reserve: Sequence[Task], **more: Any) -> list[str]:
    ctx: Any = Context(agentic(**more), {"tasks.jsonl": made, "reserve.jsonl": reserve})
    result = await solve_agentic.run(ctx)
    (file,) = (file for file in result.files if file.path == "tasks.jsonl")
    return [Task.model_validate_json(line).id for line in file.content.decode().splitlines()]
