"""The agentic track from personas to a verdict, once as its pods run it; only the models are scripted."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from contract import stages
from contract.models import agentic_policy as policy
from contract.models import serving
from contract.rounds import BASE, PodRound, Round, dropped
from contract.servers import S3Server
from flywheel_api import artifacts
from flywheel_api.artifacts import Manifest, Promotion
from flywheel_api.records.agentic import Task
from flywheel_api.records.evaluation import GateRow
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import (
    EvaluationResult,
    GateOutcome,
    PreparedResult,
    SeededResult,
    Track,
    Verdict,
    VerdictResult,
)
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.stages import Stage
from flywheel_jobs.agentic.distinct import near_task
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.evaluation.earlier import ITEMS_FILE
from flywheel_jobs.harness.context import OutputFile, store_file
from flywheel_jobs.reading.calls import render
from flywheel_jobs.stages.gate import KEPT
from flywheel_jobs.stages.seed_agentic import SPARE
from flywheel_jobs.storage.store import Store
from flywheel_standin import agentic as script
from flywheel_standin.protocol import Answer, Behaviour, ChatRequest
from flywheel_store.memory import MemoryBucket

ROLLOUTS = "sha256:" + "1" * 64
AGENTIC = {
    "personas": "builtin://personas",
    "domains": [{"name": "booking"}],
    "branchesPerTree": 4,
    "maxTasks": 30,
    "legalShare": "0.5",
    "trapShare": "0.5",
}
SUITES = [{"name": "booking-heldout", "items": 12, "repeats": 4, "gate": {"minGainOverBase": "0.1"}}]


def wrong_branch(request: ChatRequest) -> Answer | None:
    """A solver that does the other write, or one where none is right."""
    if "case" not in request.metadata or request.model == "policy":
        return None
    right = script.solve(request, rate=0.0)
    swap = {'"cancel"': '"refund"', '"refund"': '"cancel"'}
    for one, other in swap.items():
        if one in right:
            return Answer(right.replace(one, other))
    return Answer("That has been changed as you asked." if "not possible" in right else right)


def never_ends(request: ChatRequest) -> Answer | None:
    """A solver that looks up for ever."""
    if "case" not in request.metadata or request.model == "policy":
        return None
    return Answer(render("get_booking", {"id": 11}))


def to_tasks(round_: Round) -> Manifest:
    return round_.until(Stage.INVERT_AGENTIC)


def spec_of(**agentic: Any) -> FlywheelRoundSpec:
    return stages.round_spec(reasoning=None, agentic={**AGENTIC, **agentic}, evaluation={"suites": SUITES})


@pytest.fixture
def make() -> Iterator[Callable[..., Round]]:
    opened: list[Any] = []

    def build(*extra: Behaviour, **agentic: Any) -> Round:
        context = serving(extra=extra or (policy(0.4),))
        opened.append(context)
        return Round(Store(MemoryBucket()), context.__enter__(), spec_of(**agentic))

    yield build
    for context in opened:
        context.__exit__(None, None, None)


@pytest.fixture
def pods(minio: S3Server) -> Iterator[PodRound]:
    with serving(extra=(policy(0.4),)) as endpoint:
        yield PodRound(minio, f"t-{uuid.uuid4().hex[:8]}", endpoint, spec_of())


def test_whole_track_to_parquet(pods: PodRound) -> None:
    round_ = pods
    inverted = to_tasks(round_)
    tasks = round_.records(inverted, "tasks.jsonl")
    assert 18 <= len(tasks) <= 30
    assert inverted.counts.in_ == inverted.counts.out + sum(dropped(inverted).values())
    assert inverted.metrics["legalShare"] == pytest.approx(0.5, abs=0.15)
    assert inverted.metrics["trapShare"] == pytest.approx(0.5, abs=0.3)
    assert inverted.metrics["personas"] >= 15 and inverted.metrics["twins"] > 0
    solved = round_.run(Stage.SOLVE_AGENTIC)
    kept = round_.records(solved, "tasks.jsonl")
    assert {"cancel", "refund", "denied"} <= {t["outcome"] for t in kept}
    assert solved.standin and solved.notice
    parents = {t["id"] for t in round_.records(Stage.EXPAND_AGENTIC, "trees.jsonl")}
    drawn = [t for t in kept if t["lineage"]["parentIds"][0].startswith("drawn/")]  # plain cases, where trees end
    grown = [t for t in kept if set(t["lineage"]["parentIds"]) <= parents]
    assert len(drawn) + len(grown) == len(kept) and len(grown) > len(drawn)
    assert all(t["lineage"]["personaId"] for t in kept)
    pinned = round_.done[Stage.PREPARE].result
    assert isinstance(pinned, PreparedResult) and [d.name for d in pinned.domains] == ["booking"]
    assert {t["package"] for t in kept} == {pinned.domains[0].digest}
    assert round_.done[Stage.PREPARE].file("domains/booking.tar").sha256 in pinned.domains[0].digest  # type: ignore[union-attr]
    package = round_.run(Stage.PACKAGE)
    entry = next(f for f in package.files if f.path == "agentic/train.parquet")
    rows = pq.read_table(io.BytesIO(round_.store.get_blob(entry.sha256))).to_pylist()
    assert rows and all(json.loads(r["extra_info"]["task"])["case"] for r in rows)


def test_collected_rollouts_shape_the_trees(make: Callable[..., Round]) -> None:
    round_ = make(policy(0.0))
    round_.run(Stage.PREPARE)
    seeded = round_.run(Stage.SEED_AGENTIC)
    assert seeded.metrics["success"] == 0.0 and isinstance(seeded.result, SeededResult)
    assert sum(seeded.result.end_groups.values()) == 4 * seeded.counts.out and "success" not in seeded.result.end_groups
    expanded = round_.run(Stage.EXPAND_AGENTIC)
    trees = round_.records(expanded, "trees.jsonl")
    assert all(sum(t["observed"].values()) == 4 and len(t["branches"]) >= 3 for t in trees)
    kinds = {b["branch"]["kind"] for t in trees for b in t["branches"]}
    assert len(kinds) >= 5 and expanded.metrics["depth"] > 1


def test_rollouts_of_the_base_round_seed_deeper_trees_beside_fresh_ones(make: Callable[..., Round]) -> None:
    round_ = make(maxTasks=20)
    to_tasks(round_)
    first = round_.run(Stage.SOLVE_AGENTIC)
    tasks = [Task.model_validate(t) for t in round_.records(first, "tasks.jsonl")]
    kept = [
        Trajectory(
            id=f"{t.id}-{n}", track=Track.AGENTIC, item=t.id, step=n, score=float(n == 0), outcome=t.outcome, task=t
        )
        for t in tasks
        for n in range(2)
    ]
    trained = stages.lineage(round_.store, kept, round_.done[Stage.SOLVE_AGENTIC].digest)
    more = {"uid": "u2", "name": "r2", "previous_rollouts": [trained]}
    seeded = round_.run(Stage.SEED_AGENTIC, **more)
    assert isinstance(seeded.result, SeededResult) and seeded.result.fresh == 2
    assert seeded.counts.out == 2 + 2 * SPARE and dropped(seeded)["over-limit"] == len(tasks) - 2 * SPARE
    seeds = round_.records(seeded, "seeds.jsonl")
    assert [s["fresh"] for s in seeds][:4] == [False, False, True, True] and not any(s["fresh"] for s in seeds[4:])
    asked = {f["near"] for f in round_.records(seeded, "asked.jsonl")}
    assert {f["near"] for f in round_.records(first, "seen.jsonl")} <= asked and len(asked) >= len(tasks)
    trees = round_.run(Stage.EXPAND_AGENTIC, uid="u2", name="r2")
    assert trees.counts.out + dropped(trees)["not-needed"] == seeded.counts.out
    second = round_.run(Stage.INVERT_AGENTIC, uid="u2", name="r2")
    again = [Task.model_validate(t) for t in round_.records(second, "tasks.jsonl")]
    assert len(again) >= 19, "trees that offer little that is new are made up for"
    assert not {near_task(t) for t in again} & asked, "nothing is asked twice in a campaign"


@pytest.mark.parametrize(
    ("solver", "reason"),
    [(wrong_branch, {"trap-taken", "branch-missed", "untraceable"}), (never_ends, {"never-ended"})],
)
def test_negative_controls_are_rejected(make: Callable[..., Round], solver: Behaviour, reason: set[str]) -> None:
    round_ = make(solver, policy(0.4), branchesPerTree=2, maxTasks=6)
    inverted = to_tasks(round_)
    tasks = [task for file in ("tasks.jsonl", "reserve.jsonl") for task in round_.records(inverted, file)]
    solved = round_.run(Stage.SOLVE_AGENTIC)
    assert tasks and solved.counts.out == 0
    assert set(dropped(solved)) <= reason and sum(dropped(solved).values()) == len(tasks)


def test_a_solver_writes_no_more_than_its_endpoint_allows(make: Callable[..., Round]) -> None:
    round_ = make(branchesPerTree=2, maxTasks=2)
    to_tasks(round_)
    config = round_.config(Stage.SOLVE_AGENTIC)
    short = [e.model_copy(update={"max_tokens": 2}) for e in config.endpoints]
    round_.carry_out(config := config.model_copy(update={"endpoints": short}))
    attempts = stages.records(round_.store, stages.manifest_of(round_.store, config), "attempts.jsonl")
    assert attempts and {a["closed"] for a in attempts} == {"length"}


def test_band_keeps_what_the_policy_sometimes_solves(make: Callable[..., Round]) -> None:
    round_ = make(policy(0.0), branchesPerTree=2, maxTasks=6, difficulty={"low": "0.1", "high": "0.9", "samples": 2})
    to_tasks(round_)
    solved = round_.run(Stage.SOLVE_AGENTIC)
    assert solved.counts.out == 0 and set(dropped(solved)) == {"too-hard-for-policy"}


def evaluated(round_: Round) -> VerdictResult:
    """Base at the endpoint's first skill, candidate at a better one, and the gate's verdict."""
    round_.run(Stage.PREPARE)
    round_.run(Stage.EVALUATE_BASE)
    round_.train(Stage.TRAIN_AGENTIC, step=6, rollouts=ROLLOUTS)
    round_.endpoint.standin.behaviours = [policy(0.95), *round_.endpoint.standin.behaviours[1:]]
    round_.run(Stage.EVALUATE_CANDIDATE)
    result = round_.run(Stage.GATE).result
    assert isinstance(result, VerdictResult)
    return result


def promotion(round_: Round) -> Promotion | None:
    value = round_.store.get_json(artifacts.promotion_key("n", "c", "u1"))
    return None if value is None else Promotion.model_validate(value)


def test_evaluation_and_promotion(make: Callable[..., Round]) -> None:
    round_ = make(policy(0.3))
    verdict = evaluated(round_)
    suite, candidate = verdict.suites[0], round_.done[Stage.TRAIN_AGENTIC].digest
    assert (verdict.verdict, verdict.model, verdict.step) == (Verdict.PROMOTED, candidate, 6)
    assert KEPT not in verdict.reasons
    assert suite.gate is GateOutcome.PASSED and suite.gain_interval[0] > 0
    promoted = promotion(round_)
    assert promoted is not None and (promoted.model_digest, promoted.model_step) == (candidate, 6)
    assert promoted.rollouts == [ROLLOUTS] and promoted.number == 1
    stored = round_.store.get_manifest(promoted.verdict_digest)
    assert stored.result == verdict
    base = round_.done[Stage.EVALUATE_BASE].result
    assert isinstance(base, EvaluationResult) and base.model == BASE
    groups = base.suites[0].groups
    assert set(groups) == {"cancel", "refund", "denied"} and sum(g.n for g in groups.values()) == 48
    samples = round_.records(Stage.EVALUATE_BASE, "samples.jsonl")
    assert len(samples) == 48 and samples[0]["messages"][0]["role"] == "system"
    results = round_.records(Stage.EVALUATE_BASE, "results.jsonl")
    assert [r["id"] for r in results] == [s["id"] for s in samples] and not any(r["messages"] for r in results)
    assert all(r["schema"] == "evaluation-row/v1" and r["lineage"]["parentIds"] == [r["item"]] for r in results)
    # the next round of the campaign compares with this verdict's items
    again = round_.run(Stage.GATE, uid="u2", champion=promoted.verdict_digest).result
    assert isinstance(again, VerdictResult) and [(c.suite, c.gain) for c in again.champion] == [("booking-heldout", 0)]
    champion_at_another_temperature(round_, stored)


def champion_at_another_temperature(round_: Round, verdict: Manifest) -> None:
    """Its scores are of another way of sampling: the same items, and no pair."""
    rows = [GateRow.model_validate(row) for row in round_.records(verdict, ITEMS_FILE)]
    assert {(row.temperature, row.max_tokens) for row in rows} == {(0.8, 64)}
    colder = OutputFile.of(ITEMS_FILE, GateRow, [row.model_copy(update={"temperature": 0.2}) for row in rows])
    other = verdict.model_copy(update={"files": [store_file(round_.store, colder)]})
    result = round_.run(Stage.GATE, uid="u3", champion=round_.store.put_manifest(other)).result
    assert isinstance(result, VerdictResult) and result.champion == []
    assert any("not compared with the champion, which was sampled at temperature 0.2" in r for r in result.reasons)


def test_suites_of_earlier_rounds_are_run_again(make: Callable[..., Round]) -> None:
    """A round that names another suite still answers for what the campaign could before it."""
    first = make(policy(0.3))
    verdict = evaluated(first)
    (promoted,) = [m for m in [promotion(first)] if m is not None]
    assert [(r.round, list(r.scores)) for r in verdict.matrix] == [("r1", ["booking-heldout"])]
    other = {"suites": [{"name": "numeracy-heldout", "items": 8, "repeats": 2}]}
    spec = stages.round_spec(reasoning=None, agentic=AGENTIC, evaluation=other)
    second = Round(first.store, first.endpoint, spec)
    more = {"uid": "u2", "earlier": [promoted.verdict_digest]}
    prepared = second.run(Stage.PREPARE, **more).result
    assert isinstance(prepared, PreparedResult)
    assert [(s.name, s.earlier, s.repeats) for s in prepared.suites] == [
        ("numeracy-heldout", None, None),
        ("booking-heldout", "r1", 4),
    ]
    asked = [r["id"] for r in first.records(Stage.PREPARE, "suites/booking-heldout.jsonl")]
    assert [r["id"] for r in second.records(Stage.PREPARE, "suites/booking-heldout.jsonl")] == asked
    second.run(Stage.EVALUATE_BASE, uid="u2")
    second.train(Stage.TRAIN_AGENTIC, step=6)
    second.endpoint.standin.behaviours = [policy(0.0), *second.endpoint.standin.behaviours[1:]]
    second.run(Stage.EVALUATE_CANDIDATE, uid="u2")
    result = second.run(Stage.GATE, champion=promoted.verdict_digest, **more).result
    assert isinstance(result, VerdictResult) and result.verdict is Verdict.HELD
    assert any(r.startswith("booking-heldout fell from") and "against the base" in r for r in result.reasons)
    assert any(r.startswith("booking-heldout fell from") and "against the champion" in r for r in result.reasons)
    before, after = result.matrix
    assert after.scores["booking-heldout"] == 0.0 < before.scores["booking-heldout"] and len(after.scores) == 2
    assert after.items["booking-heldout"] == before.items["booking-heldout"], "the very items that it had"
    assert not any("not run again" in reason for reason in result.reasons)


def test_no_gain_is_held_and_says_why(make: Callable[..., Round]) -> None:
    round_ = make(policy(0.95))
    verdict = evaluated(round_)
    assert verdict.verdict is Verdict.HELD
    assert "gain over the base" in verdict.reasons[0] and "below 0.1" in verdict.reasons[0]
    assert verdict.reasons[-1] == KEPT, "what its data is good for"
    assert any("lost, it could be chance: more items or repeats would show it" in r for r in verdict.reasons)
    assert promotion(round_) is None


def test_a_verdict_is_about_the_model_that_was_evaluated(make: Callable[..., Round]) -> None:
    round_ = make(policy(0.3))
    evaluated(round_)
    other = stages.training(round_.store, step=9)
    with pytest.raises(ValidationFailure, match=f"but this round's candidate is {other}"):
        round_.run(Stage.GATE, uid="u2", candidate_model=other)
    del round_.done[Stage.TRAIN_AGENTIC]
    with pytest.raises(ValidationFailure, match="which no training of this round made"):
        round_.run(Stage.GATE, uid="u3")
    for uid in ("u2", "u3"):
        assert round_.store.get_json(artifacts.promotion_key("n", "c", uid)) is None
