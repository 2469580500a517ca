"""A round's CPU stages, run one after another as the operator runs them; trainings are stood in for.

`real_manifests` gives what every stage of a round commits, for tests of those who read manifests.
"""

from __future__ import annotations

from typing import Any

from contract import stages
from contract.models import Endpoint, agentic_policy, policy, serving
from contract.servers import S3Server
from flywheel_api.artifacts import Manifest
from flywheel_api.results import Track
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.round_status import StageState, StageStatus
from flywheel_api.stages import PIPELINE, Runs, Stage, StageConfig
from flywheel_jobs.storage.store import Store

DEFS = {d.stage: d for d in PIPELINE}
BASE = "sha256:" + "0" * 64


class Round:
    """Stages of one round with what each committed, and the models and rollouts that it is about."""

    def __init__(self, store: Store, endpoint: Endpoint, spec: FlywheelRoundSpec) -> None:
        self.store, self.endpoint, self.spec = store, endpoint, spec
        self.done: dict[Stage, Manifest] = {}
        self.more: dict[str, Any] = {"base_model": BASE}

    def config(self, stage: Stage, **more: Any) -> StageConfig:
        """The stage's configuration over what was committed so far."""
        inputs = {s.value: self.done[s].digest for s in DEFS[stage].inputs if s in self.done}
        return stages.config(stage, self.spec, self.endpoint.url, inputs, **{**self.more, **more})

    def run(self, stage: Stage, **more: Any) -> Manifest:
        """Runs a stage to its commit."""
        config = self.config(stage, **more)
        self.carry_out(config)
        self.done[stage] = stages.manifest_of(self.store, config)
        return self.done[stage]

    def carry_out(self, config: StageConfig) -> None:
        """Runs a stage in this process."""
        stages.run_here(config, self.store)

    def until(self, last: Stage) -> Manifest:
        """Runs the stages of the round's tracks in order, up to `last`, but no evaluation, training or import."""
        for one in PIPELINE:
            left_out = one.stage in (Stage.EVALUATE_BASE, Stage.IMPORT_MODEL)
            wanted = one.runs is Runs.JOB and self.has(one.track) and not left_out
            if wanted and one.stage not in self.done:
                self.run(one.stage)
            if one.stage is last:
                return self.done[last]
        raise AssertionError(f"{last} comes after the trainings")

    def has(self, track: Track | None) -> bool:
        """Whether the round has that track; what both share belongs to every round."""
        return track is None or getattr(self.spec, track) is not None

    def train(self, stage: Stage, step: int = 4, rollouts: str | None = None) -> str:
        """Stands in for a training; its model is the candidate from now on."""
        digest = stages.training(self.store, step, rollouts)
        self.done[stage] = self.store.get_manifest(digest)
        self.more["candidate_model"] = digest
        return digest

    def records(self, of: Stage | Manifest, path: str) -> list[dict[str, Any]]:
        """Records of a file of a stage, as they lie in the store."""
        return stages.records(self.store, self.done[of] if isinstance(of, Stage) else of, path)


class PodRound(Round):
    """A round whose stages run as their pods do."""

    def __init__(self, s3: S3Server, prefix: str, endpoint: Endpoint, spec: FlywheelRoundSpec) -> None:
        super().__init__(s3.store(prefix), endpoint, spec)
        self.s3, self.prefix = s3, prefix

    def carry_out(self, config: StageConfig) -> None:
        """Runs a stage in a process of its own."""
        stages.run(config, self.s3, self.prefix)


BOTH_TRACKS: dict[str, Any] = {
    "agentic": {
        "personas": "builtin://personas",
        "domains": [{"name": "booking"}],
        "branchesPerTree": 8,
        "maxTasks": 30,
        "difficulty": {"low": "0.0", "high": "1.0", "samples": 2},
    },
    "evaluation": {"suites": [{"name": "numeracy-heldout", "items": 8}, {"name": "booking-heldout", "items": 6}]},
}
"""A small round with both tracks: trees with branches that need a user, tasks measured with the policy."""


def run_whole(round_: Round) -> None:
    """Every stage of a round up to Report; the policy gets better where a training would have made it so."""
    round_.until(Stage.PACKAGE)
    round_.run(Stage.EVALUATE_BASE)
    for stage, step in ((Stage.TRAIN_REASONING, 4), (Stage.TRAIN_AGENTIC, 6)):
        if round_.has(DEFS[stage].track):
            round_.train(stage, step)
    round_.run(Stage.EVALUATE_CANDIDATE)
    round_.run(Stage.GATE)
    timeline = [
        StageStatus(name=stage, state=StageState.SUCCEEDED, attempt=1, manifest=manifest.digest)
        for stage, manifest in round_.done.items()
    ]
    round_.run(Stage.REPORT, timeline=timeline)


def real_manifests(store: Store) -> dict[Stage, Manifest]:
    """What every stage of a round with both tracks commits; the two trainings' are made here."""
    with serving(extra=(agentic_policy(0.5), policy)) as endpoint:
        round_ = Round(store, endpoint, stages.round_spec(**BOTH_TRACKS))
        run_whole(round_)
        return round_.done


def dropped(manifest: Manifest) -> dict[str, int]:
    """Items that the stage dropped, by reason."""
    return {d.reason: d.count for d in manifest.counts.dropped}
