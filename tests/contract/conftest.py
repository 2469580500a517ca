"""One server of each kind for the whole session; a prefix of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from contract.servers import COMMANDS, S3Server, running
from flywheel_jobs.storage.store import Store


@pytest.fixture(scope="session", params=sorted(COMMANDS))
def s3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running("minio", tmp_path_factory.mktemp("minio-stages")) as server:
        yield server


@pytest.fixture
def store(s3: S3Server) -> Store:
    return s3.store(f"t-{uuid.uuid4().hex[:8]}")
