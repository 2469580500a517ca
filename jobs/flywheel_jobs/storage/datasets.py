"""Records that a user brings: `sha256:` of a dataset manifest in the store, or `s3://bucket/key.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import ValidationError

from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.records import Record
from flywheel_jobs.storage.store import Store, parse_object

R = TypeVar("R", bound=Record)


def load_records(store: Store, ref: str, kind: type[R]) -> list[R]:
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


def _raw(store: Store, ref: str) -> Iterator[dict[str, Any]]:
    if ref.startswith("sha256:"):
        files = [f for f in store.get_manifest(ref).files if f.path.endswith(".jsonl")]
        if not files:
            raise ValidationFailure(f"{ref} has no .jsonl file")
        for entry in files:
            yield from store.iter_jsonl(entry)
        return
    data = store.get_uri(ref)
    if data is None:
        raise ValidationFailure(f"{ref} does not exist", reason="DataNotFound")
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip():
            yield parse_object(line, f"{ref} line {number}")
