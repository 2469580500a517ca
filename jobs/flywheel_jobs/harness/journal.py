"""The journal of finished items: what a restarted pod, another shard or the next attempt need not do again.

Finished items are written in segments (at most a second or 64 items apart), so that a fast endpoint is not slowed by
one object per item; a kill loses at most the open segment. A segment also holds what its items cost and who
answered, so that the manifest accounts for every incarnation. Segments of other inputs or another spec are ignored.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from flywheel_api import artifacts
from flywheel_api.artifacts import RoleUsage, ServedBy
from flywheel_api.base import StatusModel
from flywheel_api.stages import StageConfig
from flywheel_jobs.core.errors import CorruptArtifact
from flywheel_jobs.storage.store import Store

SEGMENT_ITEMS = 64
SEGMENT_SECONDS = 1.0


class Item(StatusModel):
    """A finished item: its result, or why it was dropped."""

    phase: str
    key: str
    result: dict[str, Any] | None = None
    dropped: str | None = None


class Segment(StatusModel):
    """Items that finished together."""

    basis: str
    attempt: int
    items: list[Item]
    usage: list[RoleUsage] = field(default_factory=list)
    served_by: list[ServedBy] = field(default_factory=list)


@dataclass
class Journal:
    """The journal of one stage of one owner. Single-threaded; writes happen in worker threads and keep their order.

    `usage` is what the results in `items` cost; `tokens` is all that the stage has ever cost by role, segments of other
    inputs included: a budget does not come back because an attempt was lost.
    """

    store: Store
    owner_uid: str
    stage: str
    attempt: int
    basis: str
    items: dict[tuple[str, str], Item] = field(default_factory=dict)
    usage: dict[str, RoleUsage] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    served_by: dict[tuple[str, str, str | None], ServedBy] = field(default_factory=dict)
    _open: list[Item] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    @property
    def prefix(self) -> str:
        """Where segments lie."""
        return f"{artifacts.stage_prefix(self.owner_uid, self.stage)}/items/"

    def load(self) -> None:
        """Reads segments that were not read yet; blocking."""
        fresh = [k for k in self.store.list_keys(self.prefix) if k not in self._seen]
        with ThreadPoolExecutor(max_workers=8) as pool:
            for key, value in zip(fresh, pool.map(self.store.get_json, fresh), strict=True):
                self._seen.add(key)
                self._take(key, value)

    def _take(self, key: str, value: dict[str, Any] | None) -> None:
        try:
            segment = Segment.model_validate(value)
        except ValidationError as error:
            raise CorruptArtifact(f"{key} is not a journal segment: delete it and its items run again") from error
        self._spend(segment.usage)
        if segment.basis != self.basis:
            return
        for item in segment.items:
            self.items.setdefault((item.phase, item.key), item)
        self._account(segment.usage, segment.served_by)

    def _spend(self, usage: Iterable[RoleUsage]) -> None:
        for used in usage:
            tokens = used.prompt_tokens + used.completion_tokens
            self.tokens[used.role] = self.tokens.get(used.role, 0) + tokens

    def _account(self, usage: Iterable[RoleUsage], served_by: Iterable[ServedBy]) -> None:
        for used in usage:
            self.usage[used.role] = add_usage(self.usage.get(used.role), used)
        for server in served_by:
            self.served_by[(server.role, server.model, server.weights)] = server

    def add(self, item: Item) -> bool:
        """Takes a finished item; True when the open segment is full."""
        self.items[(item.phase, item.key)] = item
        self._open.append(item)
        return len(self._open) >= SEGMENT_ITEMS

    async def flush(self, usage: list[RoleUsage], served_by: list[ServedBy]) -> None:
        """Writes the open segment with what was spent since the last one. Raises StoreUnavailable."""
        if not self._open and not any(u.calls for u in usage):
            return
        items, self._open = self._open, []
        segment = Segment(basis=self.basis, attempt=self.attempt, items=items, usage=usage, served_by=served_by)
        key = artifacts.item_key(self.owner_uid, self.stage, f"segment/{self.attempt}/{os.urandom(16).hex()}")
        try:
            await asyncio.to_thread(self.store.put_json, key, segment)
        except BaseException:
            self._open = [*items, *self._open]  # the next flush writes them
            raise
        self._seen.add(key)
        self._spend(usage)
        self._account(usage, served_by)


def basis_of(config: StageConfig) -> str:
    """What the results of items depend on: the spec and the inputs, not the attempt nor the endpoints' addresses."""
    spec = config.spec.dump()
    for outside in ("budget", "suspend", "endpoints"):
        spec.pop(outside, None)
    models = [config.base_model, config.candidate_model]
    return artifacts.digest_of(artifacts.canonical_json([config.stage, spec, config.inputs, models]))


def add_usage(one: RoleUsage | None, other: RoleUsage) -> RoleUsage:
    """The sum of two usages of a role."""
    if one is None:
        return other
    return RoleUsage(
        role=one.role,
        calls=one.calls + other.calls,
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        seconds=one.seconds + other.seconds,
    )


def subtract_usage(one: RoleUsage, other: RoleUsage | None) -> RoleUsage:
    """What was spent since `other`."""
    if other is None:
        return one
    return RoleUsage(
        role=one.role,
        calls=one.calls - other.calls,
        prompt_tokens=one.prompt_tokens - other.prompt_tokens,
        completion_tokens=one.completion_tokens - other.completion_tokens,
        seconds=one.seconds - other.seconds,
    )
