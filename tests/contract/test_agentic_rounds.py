"""Rounds after rounds: each makes as many tasks as the first, as varied, deeper, and harder where they are deeper.

A review ran five rounds of these stages: distinct proofs fell from 4 to 3, dialogues from 23 to 0, personas from 35 to
10. The models are functions here (perf.chained); docs/evidence/rounds.md holds longer runs.
"""

from __future__ import annotations

from typing import Any

import pytest

from perf.chained import Chain

ROUNDS, TASKS = 3, 24


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return Chain(["booking"], tasks=TASKS, branches=4, skill=3.0).run(ROUNDS)


def test_every_round_makes_its_tasks(rows: list[dict[str, Any]]) -> None:
    assert all(TASKS - 2 <= row["tasks"] <= TASKS for row in rows), [row["lost"] for row in rows]
    assert all(row["kept"] >= TASKS - 3 for row in rows)


@pytest.mark.parametrize("measure", ["proofs", "kinds", "dialogues", "personas", "speakers", "path"])
def test_variety_does_not_shrink(rows: list[dict[str, Any]], measure: str) -> None:
    found = [row[measure] for row in rows]
    assert min(found[1:]) >= 0.65 * found[0] > 0, found
    assert all(row["endings"] >= 2 for row in rows), "refused and done"


def test_trees_get_deeper_and_deep_tasks_are_harder(rows: list[dict[str, Any]]) -> None:
    depths = [row["depth"] for row in rows]
    assert max(depths[1:]) > depths[0] and max(row["deepest"] for row in rows) >= 3, depths
    passed: dict[int, list[float]] = {1: [], 2: []}
    for row in rows:
        for depth, (n, rate) in row["by_depth"].items():
            passed[1 if depth == 1 else 2] += [rate] * n
    shallow, deep = (sum(rates) / len(rates) for rates in passed.values())
    assert deep < shallow - 0.05


def test_shares_hold(rows: list[dict[str, Any]]) -> None:
    assert all(0.3 <= row["legal"] <= 0.6 for row in rows), [row["legal"] for row in rows]
