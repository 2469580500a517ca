"""Reads an attempt's markers in the store and verifies its manifest (law 5): never believes a pod's exit code."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TypeVar

from pydantic import ValidationError

from flywheel_api.artifacts import (
    Failure,
    Manifest,
    Progress,
    blob_key,
    digest_of,
    failure_key,
    manifest_digest_key,
    manifest_key,
    progress_key,
)
from flywheel_api.base import StatusModel
from flywheel_operator.plan.types import Record
from flywheel_operator.ports.objects import ObjectStore

_PARALLEL_STATS = 16
M = TypeVar("M", bound=StatusModel)


async def read_attempt(store: ObjectStore, owner_uid: str, stage: str, attempt: int) -> Record:
    """Everything about an attempt; the manifest's bytes, owner and blobs are checked. Raises StoreProblem."""
    data, progress, failure = await asyncio.gather(
        store.get(manifest_key(owner_uid, stage, attempt)),
        store.get(progress_key(owner_uid, stage, attempt)),
        store.get(failure_key(owner_uid, stage, attempt)),
    )
    marks = Record(progress=_lenient(Progress, progress), failure=_lenient(Failure, failure))
    if data is None:
        return marks
    manifest, problem = await verify(store, data, owner_uid, stage, attempt)
    return replace(marks, digest=digest_of(data) if manifest else None, manifest=manifest, problem=problem)


async def verify(
    store: ObjectStore, data: bytes, owner_uid: str, stage: str, attempt: int
) -> tuple[Manifest | None, str | None]:
    """The manifest, or why it is none: its form, owner, stage, attempt, and every blob's presence and size."""
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        return None, f"the manifest of {stage} does not parse: {error.errors()[0]['msg']}"
    claimed = (manifest.owner.uid, manifest.stage, manifest.attempt)
    if claimed != (owner_uid, stage, attempt):
        return None, f"the manifest of {stage} claims to be {claimed}, expected {(owner_uid, stage, attempt)}"
    limit = asyncio.Semaphore(_PARALLEL_STATS)

    async def check(sha: str, size: int) -> str | None:
        async with limit:
            found = await store.size(blob_key(sha))
        if found is None:
            return f"blob {sha[:12]} is missing"
        return None if found == size else f"blob {sha[:12]} has {found} bytes, the manifest says {size}"

    wanted = {entry.sha256: entry.size for entry in manifest.files}
    problems = await asyncio.gather(*(check(sha, size) for sha, size in wanted.items()))
    wrong = [problem for problem in problems if problem]
    return (None, f"the manifest of {stage} cannot be used: {wrong[0]}") if wrong else (manifest, None)


async def read_manifest(store: ObjectStore, digest: str) -> Manifest | None:
    """A manifest by digest; None when it is absent or its bytes do not hash to the digest. Raises StoreProblem."""
    data = await store.get(manifest_digest_key(digest))
    if data is None or digest_of(data) != digest:
        return None
    try:
        return Manifest.model_validate_json(data)
    except ValidationError:
        return None


async def resolve_model(store: ObjectStore, ref: str) -> str | None:
    """Digest of a model reference; `hf://` stands for itself; None when nothing is there. Raises StoreProblem."""
    if ref.startswith("hf://"):
        return ref
    if ref.startswith("sha256:"):
        return ref if await store.get(manifest_digest_key(ref)) is not None else None
    data = await store.get_uri(ref.rstrip("/") + "/manifest.json")
    return digest_of(data) if data is not None else None


def _lenient(model: type[M], data: bytes | None) -> M | None:
    """A half-written or foreign record counts as absent: the next poll reads it again."""
    if data is None:
        return None
    try:
        return model.model_validate(json.loads(data))
    except (ValueError, ValidationError):
        return None
