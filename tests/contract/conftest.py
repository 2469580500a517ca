"""One server of each kind for the whole session; a prefix of its own for each test."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

import flywheel_store.store
from contract import stages
from contract.relay import bad_weather, relayed
from contract.rounds import real_manifests
from contract.servers import COMMANDS, S3Server, running
from flywheel_api.artifacts import Manifest
from flywheel_api.stages import Stage, StageConfig
from flywheel_jobs.endpoints.transport import Http
from flywheel_jobs.endpoints.wire import Reply
from flywheel_jobs.storage.store import Store
from flywheel_store import connection
from flywheel_store.bucket import Bucket
from flywheel_store.memory import MemoryBucket, memory_settings


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are a tenth of what they are."""
    monkeypatch.setattr(connection, "BACKOFF_BASE", 0.025)
    monkeypatch.setattr(flywheel_store.store, "PAUSES", (0.01, 0.05, 0.1))


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], S3Server]]:
    """A server by its name, started when somebody asks for it first."""
    with ExitStack() as stack:

        @functools.cache
        def start(name: str) -> S3Server:
            return stack.enter_context(running(name, tmp_path_factory.mktemp(name)))

        yield start


@pytest.fixture(scope="session", params=sorted(COMMANDS))
def s3(request: pytest.FixtureRequest, servers: Callable[[str], S3Server]) -> S3Server:
    return servers(request.param)


@pytest.fixture(scope="session")
def minio(servers: Callable[[str], S3Server]) -> S3Server:
    return servers("minio")


@pytest.fixture(params=["memory", *sorted(COMMANDS), *(f"{name} in bad weather" for name in sorted(COMMANDS))])
def bucket(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    prefix = f"t-{uuid.uuid4().hex[:8]}"
    if request.param == "memory":
        yield MemoryBucket(replace(memory_settings(), prefix=prefix))
        return
    name, _, weather = request.param.partition(" ")
    server = request.getfixturevalue("servers")(name)
    if not weather:
        yield server.bucket(prefix)
        return
    with relayed(server) as relay:
        relay.weather = bad_weather()
        yield relay.s3.bucket(prefix)


@pytest.fixture
def store(bucket: Bucket) -> Store:
    return Store(bucket)


@pytest.fixture(scope="session")
def whole_round() -> tuple[dict[Stage, Manifest], dict[Stage, list[dict[str, Any]]]]:
    """What the real stages of a round commit, and a request of each shape that they send."""
    shapes: dict[Stage, dict[object, dict[str, Any]]] = {}
    send, run_here = Http.send, stages.run_here
    running: list[Stage] = []

    async def noted(http: Http, method: str, path: str, body: Any, seconds: float) -> Reply:
        if body is not None:
            shape = (*sorted(body), *(m["role"] for m in body["messages"]), str(body.get("response_format")))
            shapes.setdefault(running[-1], {}).setdefault(shape, body)
        return await send(http, method, path, body, seconds)

    def told(config: StageConfig, store: Store) -> None:
        running.append(config.stage)
        run_here(config, store)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Http, "send", noted)
        patch.setattr(stages, "run_here", told)
        made = real_manifests(Store(MemoryBucket(memory_settings())))
    return made, {stage: list(of.values()) for stage, of in shapes.items()}


@pytest.fixture(scope="session")
def manifests(whole_round: tuple[dict[Stage, Manifest], object]) -> dict[Stage, Manifest]:
    """What the real stages of a round commit."""
    return whole_round[0]


@pytest.fixture(scope="session")
def asked(whole_round: tuple[object, dict[Stage, list[dict[str, Any]]]]) -> dict[Stage, list[dict[str, Any]]]:
    """A request of each shape that the stages of a round send."""
    return whole_round[1]
