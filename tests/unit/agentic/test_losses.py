"""What the shipped examples' own suites can show: losses by name, and what they are too small for."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from flywheel_api.round import EvaluationSpec, FlywheelRoundSpec, SuiteSpec
from flywheel_jobs.domains import packages
from flywheel_jobs.evaluation import intervals, suites
from flywheel_jobs.evaluation.scores import ItemScore, Scores
from flywheel_jobs.evaluation.strata import facts_of, strata_of
from flywheel_jobs.evaluation.suites import Suite
from flywheel_jobs.evaluation.verdict import blind, fallen
from flywheel_jobs.seeds import personas
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket
from unit.agentic.world import shelf

EXAMPLES = Path(__file__).parents[3] / "examples"
BOOKING = packages.builtin("booking")
Rates = dict[str, float]
"""Chance of a right sample by expected outcome; "" is for all others."""


def example(name: str) -> EvaluationSpec:
    return FlywheelRoundSpec.model_validate(yaml.safe_load((EXAMPLES / name).read_text())["spec"]).evaluation


@lru_cache
def built(name: str, items: int) -> Suite:
    people = personas.split(personas.builtin(), 0.2)[1]
    spec = SuiteSpec(name=name, items=items)
    return suites.build(spec, people, Store(MemoryBucket()), {"booking": BOOKING}, shelf())


def scored(spec: SuiteSpec, rates: Rates, rng: np.random.RandomState) -> dict[str, ItemScore]:
    found = {}
    for item in built(spec.name, spec.items or 0).items:
        strata = strata_of(item)
        rate = rates.get(strata.get("outcome", ""), rates[""])
        right = Fraction(int(rng.binomial(spec.repeats, rate)))
        found[item.content] = ItemScore(right, spec.repeats, facts_of(item), strata)
    return found


def held_by(evaluation: EvaluationSpec, before: Rates, after: Rates, runs: int) -> list[set[str]]:
    """By what simulated rounds are held."""
    rng, found = np.random.RandomState(7), []
    booking = next(s for s in evaluation.suites if s.name == "booking-heldout")
    for _ in range(runs):
        base, new = (Scores({booking.name: scored(booking, rates, rng)}) for rates in (before, after))
        lost = fallen(evaluation, "base", base, new)
        found.append({f"{loss.suite} {loss.stratum}".strip() for loss in lost if loss.shown})
    return found


@pytest.mark.parametrize("name", ["round.yaml", "round-next.yaml"])
def test_an_example_holds_a_policy_that_cancels_whatever_is_asked_by_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was seen in a demo: cancel from an eighth to all, refund from a third to none."""
    monkeypatch.setattr(intervals, "DRAWS", 1000)
    runs = held_by(
        example(name), {"cancel": 0.125, "refund": 0.312, "": 0.3}, {"cancel": 1.0, "refund": 0.0, "": 0.3}, 50
    )
    assert sum("booking-heldout outcome refund" in run for run in runs) >= 45


def test_an_example_holds_few_candidates_that_are_equal_to_their_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "DRAWS", 1000)
    runs = held_by(example("round.yaml"), {"": 0.4}, {"": 0.4}, 100)
    # a suite without a gate has two chances of 2.5 % each, of the whole and of its strata: 12 of 100 once in 300
    assert sum(bool(run) for run in runs) < 12


def test_losses_that_a_suite_is_too_small_for_are_named() -> None:
    """At half of the items and of the samples a refund that was right a third of the time could be lost unseen."""
    spec = example("round.yaml")
    numeracy, booking = spec.suites
    rng = np.random.RandomState(0)
    small = booking.model_copy(update={"items": 16, "repeats": 2})
    once = booking.model_copy(update={"items": 16, "repeats": 1})

    def said(suite: SuiteSpec, rates: Rates) -> str:
        evaluation = spec.model_copy(update={"suites": [suite]})
        return "".join(blind(evaluation, Scores({suite.name: scored(suite, rates, rng)})))

    perfect = {"": 1.0}
    assert "outcome cancel" in said(once, perfect) and "outcome refund" in said(once, perfect)
    assert "kind normal" in said(booking, perfect) and "outcome" not in said(booking, perfect)
    assert "outcome refund" in said(small, {"refund": 0.3, "": 0.9})
    assert "outcome" not in said(booking, {"refund": 0.3, "": 0.9})
    assert said(numeracy, perfect) == said(booking, {"": 0.0}) == "", "what was never right cannot be lost"
