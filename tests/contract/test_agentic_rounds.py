"""Rounds after rounds: each makes as many tasks as the first, as varied, deeper, and harder where they are deeper.

A review ran five rounds of these stages: distinct proofs fell from 4 to 3, dialogues from 23 to 0, personas from 35 to
10. The models are functions here (perf.chained); docs/evidence/rounds.md holds longer runs.
"""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_domains.branches import Branch, branch
from flywheel_jobs.agentic.right import compute, read_case
from flywheel_standin import agentic as script
from flywheel_standin.domains import domain_of
from perf.chained import Chain

ROUNDS, TASKS = 3, 24


@pytest.fixture(scope="module")
def chain() -> Chain:
    made = Chain(["booking"], tasks=TASKS, branches=4, skill=3.0)
    made.run(ROUNDS)
    return made


@pytest.fixture(scope="module")
def rows(chain: Chain) -> list[dict[str, Any]]:
    return chain.rows


def branch_of(package: str, case: dict[str, Any]) -> Branch:
    right = compute(domain_of(package), read_case(case))
    return branch(right.domain, right.behaviour)


def test_every_round_makes_its_tasks(rows: list[dict[str, Any]]) -> None:
    assert all(TASKS - 2 <= row["tasks"] <= TASKS for row in rows), [row["lost"] for row in rows]
    assert all(row["kept"] >= TASKS - 3 for row in rows)


@pytest.mark.parametrize("measure", ["proofs", "kinds", "dialogues", "personas", "speakers", "path"])
def test_variety_does_not_shrink(rows: list[dict[str, Any]], measure: str) -> None:
    found = [row[measure] for row in rows]
    assert min(found[1:]) >= 0.65 * found[0] > 0, found
    assert all(row["endings"] >= 2 for row in rows), "refused and done"


def test_trees_get_deeper_and_deep_tasks_are_harder(rows: list[dict[str, Any]]) -> None:
    """Which of two later rounds grows the deepest tree of a few is chance; that one of them does is not."""
    depths = [row["depth"] for row in rows]
    assert max(depths[1:]) > depths[0] and max(row["deepest"] for row in rows) >= 3, depths
    passed: dict[int, list[float]] = {1: [], 2: []}
    for row in rows:
        for depth, (n, rate) in row["by_depth"].items():
            passed[1 if depth == 1 else 2] += [rate] * n
    shallow, deep = (sum(rates) / len(rates) for rates in passed.values())
    assert deep < shallow - 0.05


def test_equal_rounds_make_equal_tasks_whenever_and_under_whatever_name() -> None:
    """Manifests hold times: what is drawn by their digests is another thing every day."""
    made = []
    for named in ("r", "s"):
        again = Chain(["booking"], tasks=8, branches=4, skill=3.0, named=named)
        again.run(2)
        made.append([[task.id for task in tasks] for tasks in again.rounds])
    assert made[0] == made[1] and made[0][0] != made[0][1]


def test_each_level_of_a_tree_is_more_to_find_out_and_no_shorter_a_way(chain: Chain) -> None:
    """Depth as what was made is, not as its label says: a review's task of depth 6 was the task of depth 1."""
    levels = []
    for tree in (tree for made in chain.trees for tree in made):
        package, depth = tree.seed.task.package, max(1, len(tree.seed.path))
        above = branch_of(package, tree.seed.task.case).depth
        for grown in (*tree.branches, *tree.spare):
            below = branch_of(package, grown.case).depth
            assert grown.level in (1, depth, depth + 1)
            if grown.level == depth + 1:
                levels.append(below.cells - above.cells)
            assert grown.level == 1 or below.covers(above)
    assert len(levels) > TASKS / 2 and min(levels) >= 1


def test_a_task_of_some_depth_rests_on_as_many_things(chain: Chain) -> None:
    """Three cells and a withheld number are all there is in the small table: no task of it is deeper than four."""
    for task in (task for made in chain.rounds for task in made):
        assert task.depth is not None
        assert 1 <= task.depth.branch <= branch_of(task.package, task.case).depth.cells <= 4, task.case


def test_what_is_made_can_be_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that errs in none of its turns loses no task: the user answers what the right way asks, and stops."""
    monkeypatch.setattr(script.solve, "__defaults__", (0.0,))
    made = Chain(["airline"], tasks=16, seed=7, skill=14.0)
    lost = [row["lost"].get("SolveAgentic", {}) for row in made.run(3)]
    assert lost == [{}, {}, {}]


def test_shares_hold(rows: list[dict[str, Any]]) -> None:
    assert all(0.3 <= row["legal"] <= 0.6 for row in rows), [row["legal"] for row in rows]
