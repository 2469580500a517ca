"""The seam: what the real stages write is fed to the operator's own code, so that the two halves cannot drift apart."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flywheel_api.artifacts import Manifest, blob_key
from flywheel_api.results import (
    EvaluationResult,
    PackageResult,
    ReportResult,
    Split,
    Track,
    TrainingResult,
    Verdict,
    VerdictResult,
)
from flywheel_api.round import FlywheelRoundStatus, StageState, StageStatus
from flywheel_api.stages import TRAIN_STAGE, Stage
from flywheel_operator.model import Meta
from flywheel_operator.observe.attempts import verify
from flywheel_operator.plan import content, graph, results
from flywheel_operator.ports.store_fake import FakeStore
from unit.operator.world import World, story

Manifests = dict[Stage, Manifest]
NOW = datetime(2026, 11, 26, tzinfo=UTC)
META = Meta("r1", "n", "u1", 1)


def stored(manifest: Manifest) -> FakeStore:
    """A store in which every blob of a manifest lies, in its size."""
    store = FakeStore()
    for entry in manifest.files:
        store.put(blob_key(entry.sha256), b"x" * entry.size)
    return store


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


def test_the_operator_takes_scores_verdict_model_and_report_from_real_manifests(manifests: Manifests) -> None:
    status = FlywheelRoundStatus()
    for stage in (Stage.EVALUATE_BASE, Stage.EVALUATE_CANDIDATE, Stage.GATE, Stage.REPORT):
        status = status.model_copy(update=results.taken_over(stage, manifests[stage], status, "s3://b/model"))
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
    stages = {s: StageStatus(name=s, state=StageState.SUCCEEDED) for s in manifests}
    assert results.spent(stages, manifests, NOW - NOW).startswith(f"{steps} steps")


# import and export have tests of their own, which ask for their kind of result
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
