"""Runs stages as their pods do: one process, its configuration and the store's address in the environment."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from contract.servers import S3Server
from flywheel_api import artifacts
from flywheel_api.artifacts import Manifest, Owner
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.stages import STAGE_CONFIG_ENV, ResolvedEndpoint, Stage, StageConfig
from flywheel_jobs.harness.runner import StageContext, run_stage
from flywheel_jobs.storage.datasets import read_jsonl
from flywheel_jobs.storage.store import Store
from flywheel_store.store import parse_manifest

ROOT = Path(__file__).parents[2]


def round_spec(**overrides: Any) -> FlywheelRoundSpec:
    """A small reasoning round."""
    base: dict[str, Any] = {
        "campaign": "c",
        "base": {"model": "sha256:" + "0" * 64},
        "endpoints": [{"role": "Teacher", "url": "http://unused/v1", "model": "teacher"}],
        "reasoning": {
            "seeds": "builtin://arithmetic",
            "mining": {"samples": 8, "maxProblems": 24, "maxResponseTokens": 8},
            "synthesis": {"structural": 2, "persona": 1},
        },
        "evaluation": {"suites": [{"name": "arithmetic-heldout", "items": 12}]},
        "seed": 7,
    }
    return FlywheelRoundSpec.model_validate({**base, **overrides})


def config(
    stage: Stage, spec: FlywheelRoundSpec, url: str, inputs: Mapping[str, str], uid: str = "u1", **more: Any
) -> StageConfig:
    """The stage's configuration, every role at `url`."""
    endpoints = [
        ResolvedEndpoint(role="Teacher", url=url, model="teacher", concurrency=8, timeout_seconds=10),
        ResolvedEndpoint(role="Policy", url=url, model="policy", concurrency=8, timeout_seconds=10),
    ]
    return StageConfig(
        stage=stage,
        owner=Owner(kind="FlywheelRound", namespace="n", name="r1", uid=uid),
        **{"attempt": 1, "endpoint_patience_seconds": 2.0, **more},
        spec=spec,
        inputs=dict(inputs),
        endpoints=endpoints,
    )


def start(
    config: StageConfig, s3: S3Server, prefix: str, index: int = 0, env: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[str]:
    """The stage's process."""
    environ = {
        **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
        "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in ("operator", "jobs")),
        STAGE_CONFIG_ENV: json.dumps(config.dump()),
        "JOB_COMPLETION_INDEX": str(index),
        **s3.environ(prefix),
        **env,
    }
    command = [sys.executable, "-m", "flywheel_jobs", "stage"]
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run(config: StageConfig, s3: S3Server, prefix: str, expect: int = 0, **env: str) -> str:
    """Runs the stage to its end and returns its log; asserts the exit code."""
    process = start(config, s3, prefix, env=env)
    out, log = process.communicate(timeout=90)
    assert process.returncode == expect, f"exit {process.returncode}\n{out}\n{log}"
    return log


def run_here(config: StageConfig, s3: S3Server, prefix: str) -> None:
    """Runs the stage to its commit in this process: for the steps before what a test is about."""
    digest = asyncio.run(run_stage(StageContext(config, s3.store(prefix))))
    assert digest is not None


def manifest_of(store: Store, config: StageConfig) -> Manifest:
    """The committed manifest of the attempt."""
    key = artifacts.manifest_key(config.owner.uid, config.stage.value, config.attempt)
    data = store.get_bytes(key)
    assert data is not None, f"nothing is committed under {key}"
    return parse_manifest(data, key)


def records(store: Store, manifest: Manifest, path: str) -> list[dict[str, Any]]:
    """Records of a file of a manifest."""
    return list(read_jsonl(store, next(f for f in manifest.files if f.path == path)))
