"""The forgetting matrix: what compares over rounds, and what a verdict says of suites that were not run again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from flywheel_api.artifacts import Manifest, Owner
from flywheel_api.records.reasoning import Problem
from flywheel_api.results import MatrixRow, SuiteInfo, SuiteScore, Track, Verdict, VerdictResult
from flywheel_jobs.evaluation import earlier
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.storage.store import Store
from flywheel_operator.plan.results import scores_of
from flywheel_store.memory import MemoryBucket

OLD = MatrixRow(round="r1", model="sha256:1", scores={"s": 0.5, "t": 0.25}, items={"s": "old", "t": "same"})
NOW = MatrixRow(round="r2", model="sha256:2", scores={"s": 0.75, "t": 0.5}, items={"s": "new", "t": "same"})


def test_scores_over_other_items_do_not_stand_beside_these() -> None:
    assert not OLD.compares(NOW, "s") and OLD.compares(NOW, "t")
    assert [s.suite for s in scores_of(OLD, NOW).scores] == ["t"]
    assert [s.suite for s in scores_of(NOW, NOW).scores] == ["s", "t"]
    assert OLD.model_copy(update={"items": {}}).compares(NOW, "s"), "of an older round nothing is known"


def test_what_was_not_run_again_is_said() -> None:
    (said,) = earlier.not_asked([OLD], NOW)
    assert said.startswith("s has other items than in round r1, which were not run again")
    gone = NOW.model_copy(update={"scores": {"s": 0.75}, "items": {"s": "old"}})
    assert earlier.not_asked([OLD], gone) == [
        "t of round r1 was not run again: what was lost there is not known",
    ]
    assert earlier.not_asked([OLD, NOW], NOW) == [], "the newest round that had a suite is what counts"


def test_a_verdict_that_cannot_be_read_is_said() -> None:
    store, gone = Store(MemoryBucket()), f"sha256:{7:064d}"
    owner = Owner(kind="FlywheelRound", namespace="n", name="r1", uid="u")
    result = VerdictResult(verdict=Verdict.PROMOTED, model="sha256:1", matrix=[OLD])
    made = Manifest(owner=owner, stage="Gate", attempt=1, files=[], result=result, created_at="2026-01-01T00:00:00Z")
    rows, lost = earlier.matrix(store, [gone, store.put_manifest(made), gone])
    assert rows == [OLD] and len(lost) == 1 and "cannot be read" in lost[0] and gone in lost[0]


def test_items_are_known_by_what_they_say() -> None:
    def digest(*questions: str) -> str:
        problems = [Problem(id=f"{n} {q}", question=q, answer="1") for n, q in enumerate(questions)]
        ctx = cast(StageContext, SimpleNamespace(records=lambda *_: problems))
        return earlier.items_of(ctx, [SuiteInfo(name="s", track=Track.REASONING, items=len(problems))])["s"]

    assert digest("a?", "b?") == digest("b?", "a?") != digest("a?")


def test_a_row_holds_every_suite_that_was_evaluated() -> None:
    score = SuiteScore(name="s", track=Track.REASONING, score=0.5, interval=[0, 1], n=2, items=2, repeats=1)
    assert earlier.row_of("r2", "sha256:2", {"s": score}, {"s": "new"}).scores == {"s": 0.5}
