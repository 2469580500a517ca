"""What the stages of a round are made of (law 13), and which of them could be done next: there the store is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flywheel_api.artifacts import Manifest
from flywheel_api.common import Reuse
from flywheel_api.content import NEVER_REUSED, content_key, stage_content, training_content
from flywheel_api.presets import training_spec
from flywheel_api.results import PackageResult, Split
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus, StageState, StageStatus
from flywheel_api.stages import PIPELINE, Runs, Stage, StageDef
from flywheel_api.turns import number_of
from flywheel_operator.model import Content, Meta, Record, RoundSeen
from flywheel_operator.plan import graph

_COMMIT = 40  # digits of a commit


def next_stages(
    stages: Mapping[Stage, StageStatus], digests: Mapping[Stage, str], package: PackageResult | None
) -> Iterator[StageDef]:
    """Jobs and trainings that are not done, whose inputs are. `digests` holds what was found meanwhile, too.

    A Prepare whose endpoints are asked anew has a result and waits all the same.
    """
    for definition in PIPELINE:
        if definition.runs not in (Runs.JOB, Runs.RLJOB) or no_data(definition.stage, package):
            continue
        waits = stages[definition.stage].state in (StageState.PENDING, StageState.WAITING)
        if waits and all(_done(s, stages, digests, package) for s in definition.after):
            yield definition


def _done(
    stage: Stage, stages: Mapping[Stage, StageStatus], digests: Mapping[Stage, str], package: PackageResult | None
) -> bool:
    return stages[stage].state in graph.DONE or stage in digests or no_data(stage, package)


def no_data(stage: Stage, package: PackageResult | None) -> bool:
    """Whether a track's training has nothing to train on, because Package left the track out."""
    track = graph.TRAININGS.get(stage)
    return track is not None and package is not None and package.dataset(track, Split.TRAIN) is None


def package_of(manifest: Manifest | None) -> PackageResult | None:
    """What Package made, if this is its manifest."""
    result = manifest.result if manifest is not None else None
    return result if isinstance(result, PackageResult) else None


def seen_package(seen: RoundSeen) -> PackageResult | None:
    """What Package made, as it was seen: done before, or found just now."""
    return package_of(seen.manifests.get(Stage.PACKAGE) or seen.records.get(Stage.PACKAGE, Record()).manifest)


def of_stage(
    stage: Stage,
    meta: Meta,
    spec: FlywheelRoundSpec,
    status: FlywheelRoundStatus,
    digests: Mapping[Stage, str],
    package: PackageResult | None,
    sources: Mapping[str, str],
    own: bool = False,
) -> Content:
    """What a stage is made of; with `own` nobody else's result is taken. Raises ValueError when an input is missing."""
    if stage in graph.TRAININGS:
        training = training_of(stage, spec, status, digests, package)
        made_of = training_content(training, training.model)
    else:
        made_of = stage_content(
            stage,
            spec,
            graph.inputs_of(stage, digests),
            status.base_digest,
            graph.candidate(digests),
            status.rollouts,
            sources,
            status.earlier,
            number_in_campaign(spec, status),
            status.held_base is not None,
        )
    own = own or spec.reuse is Reuse.NEVER or stage in NEVER_REUSED or (stage is Stage.IMPORT_MODEL and moves(spec))
    return Content(content_key(made_of, meta.uid if own else None), made_of)


def moves(spec: FlywheelRoundSpec) -> bool:
    """Whether what the base's name stands for may be another model tomorrow: anything but a commit of a hub."""
    revision = (spec.base.model or "").partition("@")[2]
    return len(revision) != _COMMIT or not set(revision) <= set("0123456789abcdef")


def training_of(
    stage: Stage,
    spec: FlywheelRoundSpec,
    status: FlywheelRoundStatus,
    digests: Mapping[Stage, str],
    package: PackageResult | None,
) -> RLJobSpec:
    """The RLJob of a track, from the checkpoint before it. Raises ValueError when its model or data is not known."""
    track = graph.TRAININGS[stage]
    model = (digests.get(Stage.TRAIN_REASONING) if stage is Stage.TRAIN_AGENTIC else None) or status.base_digest
    train = package.dataset(track, Split.TRAIN) if package else None
    if model is None or package is None or train is None:
        raise ValueError(f"{stage} was planned before its model or its data is known")
    validation = package.dataset(track, Split.VALIDATION)
    warm_up = package.dataset(track, Split.WARM_UP)
    number = number_in_campaign(spec, status)
    return training_spec(spec, track, model, train, validation, status.domains, number, warm_up)


def number_in_campaign(spec: FlywheelRoundSpec, status: FlywheelRoundStatus) -> int:
    """The round's number, as Preflight pinned it."""
    return number_of(spec.base.round, status.by_round.number if status.by_round is not None else None)
