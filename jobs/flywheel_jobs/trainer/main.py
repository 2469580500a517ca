"""`python -m flywheel_jobs train`: the entry point of an RLJob's RayJob, on the Ray head.

Reads TrainConfig from FLYWHEEL_TRAIN_CONFIG and the store's variables. Exit codes: causes.ExitCode.
"""

from __future__ import annotations

import os

from pydantic import ValidationError

from flywheel_api.artifacts import Manifest
from flywheel_api.results import TrainingResult
from flywheel_api.stages import TRAIN_CONFIG_ENV, TRAIN_STAGE, TrainConfig
from flywheel_jobs.core import logging as telemetry
from flywheel_jobs.core.errors import CorruptArtifact, ValidationFailure
from flywheel_jobs.harness.attempt import RAY_CLUSTER_ENV, Attempt, end
from flywheel_jobs.harness.kept_output import KeptOutput
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer.driver import Driver

log = telemetry.get_logger(__name__)


def main() -> int:
    """Runs one attempt; returns the exit code."""
    output = KeptOutput(mirror=RAY_CLUSTER_ENV in os.environ)
    telemetry.configure(command="train")
    attempt: Attempt | None = None
    try:
        config = read_config()
        store = Store.from_env()
        attempt = Attempt(store, config.owner, TRAIN_STAGE, config.attempt, config.content_key)
        output.into(store, attempt.log_keys())
        done = attempt.committed()
        if done is not None:
            show_finished(attempt, store.get_manifest(done))
            attempt.pulse.start()
            log.info("already committed", digest=done)
            return 0
        attempt.claim()
        attempt.pulse.start()
        digest = Driver(config, attempt).run()
        log.info("committed", digest=digest)
        return 0
    except BaseException as error:
        return end(error, attempt)
    finally:
        if attempt is not None:
            attempt.pulse.stop()
        output.close()


def show_finished(attempt: Attempt, manifest: Manifest) -> None:
    """A result that stands, made by this RLJob or by another one of the same content, as this attempt's progress."""
    result = manifest.result
    if not isinstance(result, TrainingResult):
        raise CorruptArtifact(f"{manifest.digest} is a {manifest.kind} where a trained model was expected")
    attempt.update(
        done=result.step,
        total=result.total_steps,
        step=result.step,
        reward=result.curve[-1].reward if result.curve else None,
        text=f"step {result.step} was committed by attempt {manifest.attempt} of {manifest.owner.name}",
    )


def read_config() -> TrainConfig:
    """The configuration of this attempt. Raises ValidationFailure."""
    text = os.environ.get(TRAIN_CONFIG_ENV)
    if not text:
        raise ValidationFailure(
            f"{TRAIN_CONFIG_ENV} is not set: this command is started by the operator through a RayJob"
        )
    try:
        return TrainConfig.model_validate_json(text)
    except ValidationError as error:
        raise ValidationFailure(f"{TRAIN_CONFIG_ENV} is not a TrainConfig of this version: {error}") from error
