"""Runs stages as their pods do: one process, its configuration and the store's address in the environment."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contract.forked import Forked
from contract.servers import S3Server
from flywheel_api import artifacts, content
from flywheel_api.artifacts import Failure, FileEntry, Manifest, Owner
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import Result, RolloutsResult, TrainingResult
from flywheel_api.round import FlywheelRoundSpec, ReasoningSpec, Role
from flywheel_api.stages import STAGE_CONFIG_ENV, TRAIN_STAGE, ResolvedEndpoint, Stage, StageConfig
from flywheel_jobs.harness.attempt import Attempt, end
from flywheel_jobs.harness.context import OutputFile, StageContext, store_file
from flywheel_jobs.harness.runner import run_stage
from flywheel_jobs.stages.main import STAGES
from flywheel_jobs.storage.datasets import read_jsonl
from flywheel_jobs.storage.store import Store
from flywheel_operator.ports.store_fake import FakeStore
from flywheel_store.store import parse_manifest

ROOT = Path(__file__).parents[2]


def round_spec(**overrides: Any) -> FlywheelRoundSpec:
    """A small reasoning round."""
    base: dict[str, Any] = {
        "campaign": "c",
        "base": {"model": "sha256:" + "0" * 64},
        "endpoints": [{"role": "Teacher", "url": "http://unused/v1", "model": "teacher"}],
        "reasoning": {
            "seeds": "builtin://numeracy",
            "mining": {"samples": 8, "maxProblems": 24, "maxResponseTokens": 8},
            "synthesis": {"structural": 2, "persona": 1},
        },
        "evaluation": {"suites": [{"name": "numeracy-heldout", "items": 12}]},
        "seed": 7,
    }
    return FlywheelRoundSpec.model_validate({**base, **overrides})


def reasoning() -> ReasoningSpec:
    """The reasoning track of `round_spec`."""
    found = round_spec().reasoning
    assert found is not None
    return found


def config(
    stage: Stage,
    spec: FlywheelRoundSpec,
    url: str,
    inputs: Mapping[str, str],
    uid: str = "u1",
    only_for: str | None = None,
    **more: Any,
) -> StageConfig:
    """The stage's configuration, every role at `url`; with `only_for` its result is nobody else's."""
    endpoints = [
        ResolvedEndpoint(role=Role.TEACHER, url=url, model="teacher", concurrency=8, timeout_seconds=10),
        ResolvedEndpoint(role=Role.POLICY, url=url, model="policy", concurrency=8, timeout_seconds=10),
    ]
    if stage is Stage.PREPARE and not more.pop("handshake", False):
        endpoints = []  # most of these rounds have nobody to shake hands with
    made_of = content.stage_content(
        stage,
        spec,
        inputs,
        more.get("base_model"),
        more.get("candidate_model"),
        more.get("previous_rollouts", ()),
        None,
        more.get("earlier", ()),
        more.get("number", 1),
        more.get("previous_held", False),
    )
    return StageConfig(
        stage=stage,
        owner=Owner(kind="FlywheelRound", namespace="n", name=more.pop("name", "r1"), uid=uid),
        content_key=content.content_key(made_of, only_for or (uid if stage in content.NEVER_REUSED else None)),
        made_of=made_of,
        **{"attempt": 1, "endpoint_patience_seconds": 2.0, **more},
        spec=spec,
        inputs=dict(inputs),
        endpoints=endpoints,
    )


def environment(config: StageConfig, s3: S3Server, prefix: str, index: int = 0) -> dict[str, str]:
    """What the stage's pod finds in its environment."""
    return {
        **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
        "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in ("operator", "jobs")),
        STAGE_CONFIG_ENV: json.dumps(config.dump()),
        "JOB_COMPLETION_INDEX": str(index),
        **s3.environ(prefix),
    }


def start(config: StageConfig, s3: S3Server, prefix: str, index: int = 0) -> Forked:
    """The stage's process."""
    return Forked("flywheel_jobs", "stage", environ=environment(config, s3, prefix, index))


def run(config: StageConfig, s3: S3Server, prefix: str) -> None:
    """Runs the stage in a process of its own to its commit."""
    process = start(config, s3, prefix)
    log = process.wait(timeout=90)
    assert process.returncode == 0, f"exit {process.returncode}\n{log}"


def run_command(config: StageConfig, s3: S3Server, prefix: str, **env: str) -> str:
    """Runs the stage by the command of its pod; returns all that it said."""
    command = [sys.executable, "-m", "flywheel_jobs", "stage"]
    environ = environment(config, s3, prefix) | env
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def run_here(config: StageConfig, store: Store) -> str:
    """Runs the stage to its commit in this process, for the steps before what a test is about; returns the digest."""
    digest = asyncio.run(run_stage(StageContext(config, store), STAGES[config.stage]))
    assert digest is not None
    return digest


def refused_here(config: StageConfig, store: Store) -> tuple[int, Failure]:
    """Runs a stage that fails, in this process; the exit code of its pod, and the failure that the store keeps."""
    attempt = Attempt(store, config.owner, config.stage.value, config.attempt, config.content_key)
    try:
        asyncio.run(run_stage(StageContext(config, store, 0, attempt), STAGES[config.stage]))
    except Exception as error:
        code = end(error, attempt)
    else:
        raise AssertionError(f"{config.stage} was carried out")
    key = artifacts.failure_key(config.owner.uid, config.stage, config.attempt)
    return code, Failure.model_validate(store.get_json(key))


def manifest_of(store: Store, config: StageConfig) -> Manifest:
    """The committed manifest of what the configuration makes."""
    key = artifacts.manifest_key(config.owner.namespace, config.content_key)
    data = store.get_bytes(key)
    assert data is not None, f"nothing is committed under {key}"
    return parse_manifest(data, key)


def stored(manifest: Manifest) -> FakeStore:
    """The operator's store, in which every blob of a manifest lies, in its size."""
    store = FakeStore()
    for entry in manifest.files:
        store.put(artifacts.blob_key(entry.sha256), b"x" * entry.size)
    return store


def records(store: Store, manifest: Manifest, path: str) -> list[dict[str, Any]]:
    """Records of a file of a manifest, as they lie there."""
    entry = manifest.file(path)
    assert entry is not None, f"{manifest.stage} has no {path}"
    return list(read_jsonl(store, entry))


def rollouts(store: Store, trajectories: Sequence[Trajectory]) -> str:
    """A training's kept trajectories in the store, as the trainer stores them; returns the manifest's digest."""
    file = OutputFile.of("rollouts/step-1.jsonl", Trajectory, trajectories)
    return store.put_manifest(_training_part(RolloutsResult(step=1), [store_file(store, file)]))


def lineage(store: Store, trajectories: Sequence[Trajectory], solved: str) -> str:
    """Kept trajectories with the lineage that a real training gives them: its data set, and who solved the tasks."""
    data = _training_part(RolloutsResult(step=1), []).model_copy(update={"inputs": {Stage.SOLVE_AGENTIC.value: solved}})
    file = OutputFile.of("rollouts/step-1.jsonl", Trajectory, trajectories)
    part = _training_part(RolloutsResult(step=1), [store_file(store, file)])
    return store.put_manifest(part.model_copy(update={"inputs": {"train": store.put_manifest(data)}}))


def training(store: Store, step: int = 4, rollouts: str | None = None) -> str:
    """A finished training in the store; returns the manifest's digest."""
    return store.put_manifest(_training_part(TrainingResult(step=step, rollouts=rollouts), []))


def _training_part(result: Result, files: list[FileEntry]) -> Manifest:
    owner = Owner(kind="RLJob", namespace="n", name="j1", uid="j1")
    return Manifest(
        owner=owner, stage=TRAIN_STAGE, attempt=1, files=files, result=result, created_at="2026-01-01T00:00:00Z"
    )
