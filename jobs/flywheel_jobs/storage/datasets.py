"""What is read out of the store as models: records of manifests, records that a user brings, objects of our own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flywheel_api.artifacts import FileEntry
from flywheel_api.records.base import Record
from flywheel_api.records.trajectory import Trajectory
from flywheel_jobs.core.errors import CorruptArtifact, ValidationFailure
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


def load_records(store: BlobStore, ref: str, kind: type[R]) -> list[R]:
    """A user's records: `sha256:` of a dataset manifest in the store, or `s3://bucket/key.jsonl`.

    Raises ValidationFailure naming the first bad one.
    """
    found: list[R] = []
    for number, value in enumerate(_raw(store, ref), start=1):
        try:
            found.append(kind.model_validate(value))
        except ValidationError as error:
            raise ValidationFailure(f"record {number} of {ref}: {_first(error)}") from error
    if not found:
        raise ValidationFailure(f"{ref} holds no records")
    return found


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _raw(store: BlobStore, ref: str) -> Iterator[dict[str, Any]]:
    if ref.startswith("sha256:"):
        files = [f for f in store.get_manifest(ref).files if f.path.endswith(".jsonl")]
        if not files:
            raise ValidationFailure(f"{ref} has no .jsonl file")
        for entry in files:
            yield from read_jsonl(store, entry)
        return
    data = store.get_bytes(ref)
    if data is None:
        raise ValidationFailure(f"{ref} does not exist", reason="DataNotFound")
    yield from _objects(data, ref)


def read_jsonl(store: BlobStore, entry: FileEntry) -> Iterator[dict[str, Any]]:
    """Records of a JSONL file of a manifest. Raises CorruptArtifact naming the line that is no JSON object."""
    yield from _objects(store.get_blob(entry.sha256), entry.path)


def _objects(data: bytes, where: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip():
            yield parse_object(line, f"{where} line {number}")
