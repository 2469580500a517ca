"""Records in JSON Lines: those of a manifest's file, and those that a user brings by `sha256:` or `s3://`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import ValidationError

from flywheel_api.artifacts import FileEntry
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.records import Record
from flywheel_store.store import BlobStore, parse_object

R = TypeVar("R", bound=Record)


def load_records(store: BlobStore, ref: str, kind: type[R]) -> list[R]:
    """All records behind `ref`, typed. Raises ValidationFailure naming the first bad one."""
    found: list[R] = []
    for number, value in enumerate(_raw(store, ref), start=1):
        try:
            found.append(kind.model_validate(value))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValidationFailure(f"record {number} of {ref}: {where}: {first['msg']}") from error
    if not found:
        raise ValidationFailure(f"{ref} holds no records")
    return found


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
