"""What is read out of the store as models: records of manifests, objects of our own. Users' files: `sources`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flywheel_api.artifacts import FileEntry
from flywheel_api.records.base import Record
from flywheel_api.records.trajectory import Trajectory
from flywheel_jobs.core.errors import CorruptArtifact
from flywheel_store.store import BlobStore, parse_object

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound=Record)


def read_model(store: BlobStore, key: str, kind: type[M]) -> M | None:
    """The object under a key, or None. Raises CorruptArtifact when something else is there."""
    value = store.get_json(key)
    try:
        return None if value is None else kind.model_validate(value)
    except ValidationError as error:
        raise CorruptArtifact(f"{key} is no {kind.__name__} of this version: {_first(error)}") from error


def read_records(store: BlobStore, entry: FileEntry, kind: type[R]) -> Iterator[R]:
    """The records of a file of a manifest. Raises CorruptArtifact naming the first that is of another kind."""
    for number, value in enumerate(read_jsonl(store, entry), start=1):
        try:
            yield kind.model_validate(value)
        except ValidationError as error:
            raise CorruptArtifact(
                f"record {number} of {entry.path} is no {kind.schema_name()}: {_first(error)}"
            ) from error


def read_rollouts(store: BlobStore, digest: str) -> Iterator[Trajectory]:
    """The trajectories that a training kept, masked ones included. Raises CorruptArtifact."""
    for entry in store.get_manifest(digest).files:
        if entry.record_schema == Trajectory.schema_name():
            yield from read_records(store, entry, Trajectory)


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def read_jsonl(store: BlobStore, entry: FileEntry) -> Iterator[dict[str, Any]]:
    """Records of a JSONL file of a manifest. Raises CorruptArtifact naming the line that is no JSON object."""
    yield from _objects(store.get_blob(entry.sha256), entry.path)


def _objects(data: bytes, where: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield parse_object(line, f"{where} line {number}")
