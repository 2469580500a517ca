"""The journal of finished items: what a restarted pod, another shard or the next attempt need not do again.

Finished items are written in segments (at most a second or 64 items apart), so that a fast endpoint is not slowed by
one object per item; a kill loses at most the open segment. A segment also holds what its items cost and who
answered, so that the manifest accounts for every incarnation. It lies where the result will lie: whoever makes the
same, another round included, takes the items over.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from flywheel_api import artifacts
from flywheel_api.artifacts import Owner, RoleUsage, ServedBy
from flywheel_api.base import StatusModel, Timestamp
from flywheel_jobs.core.clock import now
from flywheel_jobs.endpoints.served import Key, count
from flywheel_jobs.storage.datasets import read_model
from flywheel_jobs.storage.store import Store

SEGMENT_ITEMS = 64
SEGMENT_SECONDS = 1.0


class Item(StatusModel):
    """A finished item: its result, or why it was dropped."""

    phase: str = Field(description="Phase of the stage.")
    key: str = Field(description="Key of the item in that phase.")
    result: dict[str, Any] | None = Field(default=None, description="The phase's model, dumped.")
    dropped: str | None = Field(default=None, description="Why there is no result.")


class Segment(StatusModel):
    """Items that finished together."""

    owner_uid: str = Field(description="Whose attempt wrote it.")
    shard: int = Field(default=0, description="Which shard of the attempt.")
    attempt: int = Field(description="Number of that attempt.")
    items: list[Item] = Field(description="The items.")
    usage: list[RoleUsage] = Field(default_factory=list, description="What was spent since the last segment.")
    served_by: list[ServedBy] = Field(default_factory=list, description="Who answered since the last segment.")
    written_at: Timestamp | None = Field(default=None, description="When it was written.")
    said_at: Timestamp | None = Field(
        default=None, description="Of an evaluation: when the server last said that it serves the same weights."
    )
    doubts_since: Timestamp | None = Field(
        default=None, description="Items that were written from then until this attempt's end are asked again."
    )


@dataclass
class Journal:
    """The journal of one content. Single-threaded; writes happen in worker threads and keep their order.

    `usage` is what `owner` spent, over its attempts; `taken_over` is what others had spent on items that are here: a
    budget counts the first only, and does not come back because an attempt was lost.
    """

    store: Store
    owner: Owner
    content_key: str
    attempt: int
    shard: int = 0
    items: dict[tuple[str, str], Item] = field(default_factory=dict)
    usage: dict[str, RoleUsage] = field(default_factory=dict)
    taken_over: dict[str, RoleUsage] = field(default_factory=dict)
    served_by: dict[Key, ServedBy] = field(default_factory=dict)
    said_at: str = ""  # when the server of an evaluation last said that it serves the same weights
    _open: list[Item] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _doubts: list[Segment] = field(default_factory=list)
    _read: dict[tuple[str, str], Segment] = field(default_factory=dict)  # where items that others wrote stand

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens that count against the owner's budget, by role."""
        return {role: u.prompt_tokens + u.completion_tokens + u.unconfirmed_tokens for role, u in self.usage.items()}

    def load(self) -> None:
        """Reads segments that were not read yet; blocking."""
        prefix = artifacts.items_prefix(self.owner.namespace, self.content_key)
        fresh = [k for k in self.store.list_keys(prefix) if k not in self._seen]
        with ThreadPoolExecutor(max_workers=8) as pool:
            found = list(pool.map(lambda k: read_model(self.store, k, Segment), fresh))
        self._seen.update(fresh)
        segments = [segment for segment in found if segment is not None]
        doubts = [segment for segment in segments if segment.doubts_since is not None]
        self._doubts += doubts
        if doubts:  # another shard may doubt what this one has read before
            for key in [key for key, segment in self._read.items() if self._doubted(segment)]:
                del self.items[key], self._read[key]
        for segment in segments:
            self._take(segment)

    def _take(self, segment: Segment) -> None:
        if self._doubted(segment):
            segment = segment.model_copy(update={"items": [], "served_by": []})  # what it cost was spent
        for item in segment.items:
            if (item.phase, item.key) not in self.items:
                self.items[item.phase, item.key], self._read[item.phase, item.key] = item, segment
        self._account(segment)

    def _doubted(self, segment: Segment) -> bool:
        at = segment.written_at or ""  # segments of earlier releases have none
        return any((doubt.doubts_since or "") <= at and _until(segment, doubt) for doubt in self._doubts)

    def _account(self, segment: Segment) -> None:
        _add(self.usage if segment.owner_uid == self.owner.uid else self.taken_over, segment.usage)
        self.said_at = max(self.said_at, segment.said_at or "")
        for server in segment.served_by:
            count(self.served_by, server)

    def add(self, item: Item) -> bool:
        """Takes a finished item; True when the open segment is full."""
        self.items[(item.phase, item.key)] = item
        self._open.append(item)
        return len(self._open) >= SEGMENT_ITEMS

    async def flush(self, usage: list[RoleUsage], served_by: list[ServedBy], said_at: str = "") -> None:
        """Writes the open segment with what was spent since the last one. Raises StoreUnavailable."""
        if not self._open and not usage:
            return
        items, self._open = self._open, []
        segment = self._segment(items, usage=usage, served_by=served_by, said_at=said_at or None)
        try:
            await self._write(segment)
        except BaseException:
            self._open = [*items, *self._open]  # the next flush writes them
            raise
        self._account(segment)

    async def doubt(self, since: str) -> None:
        """Has all items that were written since then asked again by whoever reads this. Raises StoreUnavailable.

        Whoever answered them may be another than who answered before, and nobody can tell.
        """
        if self.items:
            await self._write(self._segment([], doubts_since=since))

    def _segment(self, items: list[Item], **more: Any) -> Segment:
        return Segment(
            owner_uid=self.owner.uid, shard=self.shard, attempt=self.attempt, items=items, written_at=now(), **more
        )

    async def _write(self, segment: Segment) -> None:
        name = f"segment/{self.owner.uid}/{self.attempt}/{os.urandom(16).hex()}"
        key = artifacts.item_key(self.owner.namespace, self.content_key, name)
        await asyncio.to_thread(self.store.put_json, key, segment)
        self._seen.add(key)


def _until(segment: Segment, doubt: Segment) -> bool:
    """Whether a segment is no younger than a doubt.

    Other shards of an attempt go on for seconds after one of them doubts, and clocks differ: attempts are counted. They
    say nothing between owners.
    """
    if segment.owner_uid == doubt.owner_uid:
        return segment.attempt <= doubt.attempt
    return (segment.written_at or "") <= (doubt.written_at or "")


def _add(to: dict[str, RoleUsage], usage: Iterable[RoleUsage]) -> None:
    for used in usage:
        to[used.role] = add_usage(to.get(used.role), used)


_COUNTED = ("calls", "prompt_tokens", "completion_tokens", "estimated_tokens", "unconfirmed_tokens", "seconds")


def add_usage(one: RoleUsage | None, other: RoleUsage) -> RoleUsage:
    """The sum of two usages of a role."""
    return other if one is None else _combined(one, other, 1)


def subtract_usage(one: RoleUsage, other: RoleUsage | None) -> RoleUsage:
    """What was spent since `other`."""
    return one if other is None else _combined(one, other, -1)


def _combined(one: RoleUsage, other: RoleUsage, sign: int) -> RoleUsage:
    return one.model_copy(update={n: getattr(one, n) + sign * getattr(other, n) for n in _COUNTED})
