"""The seam: what the real stages write is fed to the operator's own code, so that the two halves cannot drift apart."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from contract import stages
from contract.models import agentic_policy, policy, serving
from contract.rounds import BOTH_TRACKS, Round
from contract.stages import stored
from flywheel_api.artifacts import Manifest
from flywheel_api.results import (
    EvaluationResult,
    PackageResult,
    PreparedResult,
    ReportResult,
    Split,
    Track,
    TrainingResult,
    Verdict,
    VerdictResult,
)
from flywheel_api.round import FlywheelRoundStatus, StageState, StageStatus
from flywheel_api.stages import TRAIN_STAGE, Stage
from flywheel_jobs.storage.store import Store
from flywheel_operator.model import Meta
from flywheel_operator.observe.attempts import verify
from flywheel_operator.plan import content, graph, results
from flywheel_store.memory import MemoryBucket
from unit.operator.world import World, story

Manifests = dict[Stage, Manifest]
NOW = datetime(2026, 11, 26, tzinfo=UTC)
META = Meta("r1", "n", "u1", 1)


async def test_what_every_real_stage_commits_is_verified(manifests: Manifests) -> None:
    for stage, manifest in manifests.items():
        name = TRAIN_STAGE if stage in graph.TRAININGS else stage.value
        found, problem = await verify(stored(manifest), manifest.canonical(), manifest.content_key, name)
        assert problem is None and found == manifest, f"{stage}: {problem}"


async def test_a_manifest_of_another_content_or_stage_is_refused(manifests: Manifests) -> None:
    manifest = manifests[Stage.PREPARE]
    _, other_key = await verify(stored(manifest), manifest.canonical(), "sha256:" + "0" * 64, Stage.PREPARE)
    _, other_stage = await verify(stored(manifest), manifest.canonical(), manifest.content_key, Stage.PACKAGE)
    assert other_key is not None and other_stage is not None


def after(stage: Stage, manifests: Manifests, status: FlywheelRoundStatus) -> FlywheelRoundStatus:
    """The round's status once the operator has taken a stage's result over."""
    done = StageStatus(name=stage, state=StageState.SUCCEEDED)
    return status.model_copy(update=results.taken_over(done, manifests[stage], status, "s3://b/model"))


def test_the_operator_takes_endpoints_and_domains_from_a_real_prepare() -> None:
    with serving(extra=(agentic_policy(0.5), policy)) as endpoint:
        round_ = Round(Store(MemoryBucket()), endpoint, stages.round_spec(**BOTH_TRACKS))
        prepared = round_.run(Stage.PREPARE, handshake=True).result
    assert isinstance(prepared, PreparedResult) and prepared.endpoints and prepared.domains
    status = after(Stage.PREPARE, round_.done, FlywheelRoundStatus())
    assert [(e.role, e.model) for e in status.endpoints] == [(e.role, e.model) for e in prepared.endpoints]
    assert status.domains == prepared.domains


def test_the_operator_takes_the_scores_of_the_base_before_there_is_a_candidate(manifests: Manifests) -> None:
    base = manifests[Stage.EVALUATE_BASE].result
    assert isinstance(base, EvaluationResult)
    status = after(Stage.EVALUATE_BASE, manifests, FlywheelRoundStatus())
    assert [s.suite for s in status.scores] == [s.name for s in base.suites] and len(status.scores) == 2
    for shown, found in zip(status.scores, base.suites, strict=True):
        assert shown.base is not None and float(shown.base) == pytest.approx(found.score, abs=0.001)
        assert shown.base_interval and shown.candidate is None and shown.gain is None
    assert status.score == f"{base.suites[0].score * 100:.1f} →"
    both = after(Stage.EVALUATE_CANDIDATE, manifests, status)
    assert all(s.base and s.base_interval and s.candidate and s.candidate_interval for s in both.scores)


def test_the_operator_takes_scores_verdict_model_and_report_from_real_manifests(manifests: Manifests) -> None:
    status = FlywheelRoundStatus()
    for stage in (Stage.EVALUATE_BASE, Stage.EVALUATE_CANDIDATE, Stage.GATE, Stage.REPORT):
        status = after(stage, manifests, status)
    verdict, evaluated = manifests[Stage.GATE].result, manifests[Stage.EVALUATE_CANDIDATE].result
    report, base = manifests[Stage.REPORT].result, manifests[Stage.EVALUATE_BASE].result
    assert isinstance(verdict, VerdictResult) and isinstance(evaluated, EvaluationResult)
    assert isinstance(report, ReportResult) and isinstance(base, EvaluationResult)
    assert status.verdict is verdict.verdict and verdict.model == evaluated.model
    assert (status.model is not None) == (verdict.verdict is Verdict.PROMOTED)
    assert status.model is None or status.model.digest == evaluated.model
    assert [s.suite for s in status.scores] == [s.name for s in base.suites] == [s.suite for s in verdict.suites]
    assert all(s.base and s.candidate and s.gain and s.gate for s in status.scores)
    assert status.report == report.uri and status.score and "→" in status.score
    assert results.reasons(manifests[Stage.GATE])


def test_the_operator_finds_the_data_of_both_tracks(manifests: Manifests) -> None:
    package = manifests[Stage.PACKAGE].result
    assert isinstance(package, PackageResult)
    for stage, track in graph.TRAININGS.items():
        assert package.dataset(track, Split.TRAIN) and not content.no_data(stage, package)
    alone = package.model_copy(update={"datasets": [d for d in package.datasets if d.track is Track.AGENTIC]})
    assert content.no_data(Stage.TRAIN_REASONING, alone)


def test_the_operator_sums_up_counts_tokens_and_steps(manifests: Manifests) -> None:
    for stage, manifest in manifests.items():
        fields = results.counted(manifest)
        assert fields["counts"].in_ == str(manifest.counts.in_), stage
    trained = [manifests[stage].result for stage in graph.TRAININGS]
    steps = sum(t.step for t in trained if isinstance(t, TrainingResult))
    timeline = {s: StageStatus(name=s, state=StageState.SUCCEEDED) for s in manifests}
    assert results.spent(timeline, manifests, NOW - NOW).startswith(f"{steps} steps")


# import, export and the trainings have tests of their own, which feed the operator with what they wrote
OTHERS = (Stage.PREFLIGHT, Stage.IMPORT_MODEL, Stage.EXPORT, *graph.POOLS, *graph.TRAININGS)


@pytest.mark.parametrize("stage", [s for s in Stage if s not in OTHERS])
def test_the_fakes_of_the_operator_build_the_same_results(manifests: Manifests, stage: Stage) -> None:
    world = World()
    config: dict[str, Any] = {"spec": {"reasoning": {}, "agentic": {}}, "candidateModel": "sha256:c"}
    if stage is Stage.GATE:
        evaluation, _ = story(Stage.EVALUATE_CANDIDATE, world, config)
        evaluated = world.manifest(manifests[stage].owner, Stage.EVALUATE_CANDIDATE, 1, evaluation)
        config["inputs"] = {"EvaluateCandidate": evaluated.digest}
    assert type(story(stage, world, config)[0]) is type(manifests[stage].result)
