"""What a CPU stage gets (`StageContext`) and gives (`StageResult`).

A stage reads input manifests, calls endpoints through `ctx.llm`, does its per-item work through `ctx.map_items`, and
returns files and counts. It never writes to the store itself, except through `ctx.put_dataset`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from flywheel_api import artifacts
from flywheel_api.artifacts import Counts, Dropped, FileEntry, Manifest, ManifestKind, RoleUsage, ServedBy, Usage
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.stages import ResolvedEndpoint, StageConfig
from flywheel_jobs.core.errors import CorruptArtifact, ValidationFailure
from flywheel_jobs.core.version import code_version
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.harness.attempt import Attempt, now
from flywheel_jobs.harness.journal import Journal, basis_of, subtract_usage
from flywheel_jobs.harness.pump import Pump
from flywheel_jobs.storage.datasets import read_jsonl
from flywheel_jobs.storage.store import Store

T = TypeVar("T")
FALLBACK_ROLE = "Teacher"
IDLE_ITEMS = 64  # items in flight when no endpoint bounds them


class ShardDone(Exception):
    """This shard did its keys and others are still at theirs: the last one commits."""


@dataclass(frozen=True)
class OutputFile:
    """A file of the stage's manifest: records (written as JSONL), bytes, or a file on disk."""

    path: str
    content: Sequence[Mapping[str, Any]] | bytes | Path
    schema: str | None = None
    records: int | None = None


@dataclass(frozen=True)
class StageResult:
    """What a stage commits. `counts` must add up: in = out + dropped."""

    kind: ManifestKind
    files: list[OutputFile] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    metrics: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


class StageContext:
    """The world of a stage."""

    def __init__(self, config: StageConfig, store: Store, shard: int = 0, attempt: Attempt | None = None) -> None:
        self.config = config
        self.spec: FlywheelRoundSpec = config.spec
        self.store = store
        self.shard = shard
        self.shards = config.shards
        self.attempt = attempt or Attempt(store, config.owner, config.stage.value, config.attempt)
        self.inputs: dict[str, Manifest] = {}
        self.dropped: Counter[str] = Counter()
        self.journal = Journal(store, config.owner.uid, config.stage.value, config.attempt, basis_of(config))
        self._clients: dict[str, ChatClient] = {}
        self._flushed: dict[str, RoleUsage] = {}
        self._waits: dict[str, str] = {}
        self._flushing = asyncio.Lock()
        self._started = time.monotonic()

    async def open(self) -> None:
        """Reads and verifies the input manifests and the journal."""
        for name, digest in self.config.inputs.items():
            self.inputs[name] = await asyncio.to_thread(self.store.get_manifest, digest)
        await asyncio.to_thread(self.journal.load)

    async def close(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            await client.aclose()

    # ---- inputs ---------------------------------------------------------------------------------------------------
    def records(self, stage: str, path: str) -> list[dict[str, Any]]:
        """Records of a JSONL file of an input stage's manifest, verified. Raises ValidationFailure if it is absent."""
        manifest = self.inputs.get(str(stage))
        if manifest is None:
            raise ValidationFailure(f"{self.config.stage} needs the manifest of {stage}, which it was not given")
        entry = next((f for f in manifest.files if f.path == path), None)
        if entry is None:
            raise CorruptArtifact(f"the manifest of {stage} has no file {path}")
        return list(read_jsonl(self.store, entry))

    def rng(self, *parts: object) -> random.Random:
        """A generator seeded by (round seed, stage, parts): the same in every attempt and on every machine."""
        return random.Random(self.seed(*parts))

    def seed(self, *parts: object) -> int:
        """A seed in [0, 2^31) from (round seed, stage, parts)."""
        text = "/".join(str(p) for p in (self.spec.seed, self.config.stage.value, *parts))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1

    # ---- progress -------------------------------------------------------------------------------------------------
    def progress(self, done: int, total: int | None, text: str, waiting_for: str | None = None) -> None:
        """Says where the stage stands; shown in the round's status."""
        if self.shards > 1:
            text = f"shard {self.shard + 1} of {self.shards}: {text}"
        waiting = waiting_for or next(iter(self._waits.values()), None)
        self.attempt.update(done=done, total=total, text=text, waiting_for=waiting, tokens_per_second=self._speed())

    def _speed(self) -> float | None:
        tokens = sum(c.usage.completion_tokens for c in self._clients.values())
        return round(tokens / max(1e-3, time.monotonic() - self._started), 1) if tokens else None

    def _waiting(self, role: str) -> Callable[[str | None], None]:
        def report(text: str | None) -> None:
            if text is None:
                self._waits.pop(role, None)
            else:
                self._waits[role] = text
            self.attempt.update(waiting_for=next(iter(self._waits.values()), None))

        return report

    # ---- models ---------------------------------------------------------------------------------------------------
    def llm(self, role: str) -> ChatClient:
        """The client of a role; a role without an endpoint falls back to Teacher. Raises ValidationFailure if none."""
        endpoint = self.endpoint(str(role))
        name = str(role)
        if name not in self._clients:
            self._clients[name] = ChatClient(
                endpoint.model_copy(update={"role": name}),
                patience_seconds=self.config.endpoint_patience_seconds,
                on_wait=self._waiting(name),
                already_used=self.journal.tokens.get(name, 0),
            )
        return self._clients[name]

    def endpoint(self, role: str) -> ResolvedEndpoint:
        """The endpoint that plays a role."""
        by_role = {e.role: e for e in self.config.endpoints}
        found = by_role.get(role) or (by_role.get(FALLBACK_ROLE) if role != "Policy" else None)
        if found is None:
            raise ValidationFailure(f"{self.config.stage} needs an endpoint for role {role}: add it to spec.endpoints")
        return found

    # ---- items ----------------------------------------------------------------------------------------------------
    async def map_items(
        self,
        items: Iterable[T],
        key: Callable[[T], str],
        work: Callable[[T], Awaitable[dict[str, Any]]],
        phase: str = "items",
        text: str = "",
        concurrency: int | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Results by key, in the order of `items`, of those that were not dropped; drops are counted in `dropped`.

        Finished items are journaled, so a restart fills only the missing. With several shards this returns only in the
        last one, with everybody's results (the others end); later phases then run in that one.
        """
        todo = {key(item): item for item in items}
        mine = {k: v for k, v in todo.items() if self._is_mine(k) and (phase, k) not in self.journal.items}
        self._report_items(phase, todo, text)
        if mine:
            pump = Pump(self.journal, phase, work, self.flush, lambda: self._report_items(phase, todo, text))
            await pump.run(mine, concurrency or self._default_concurrency())
        if self.shards > 1:
            await asyncio.to_thread(self.journal.load)
            if any((phase, k) not in self.journal.items for k in todo):
                raise ShardDone
            self.shards = 1
        found = {k: self.journal.items[(phase, k)] for k in todo}
        self.dropped.update(i.dropped for i in found.values() if i.dropped)
        return {k: i.result for k, i in found.items() if i.result is not None}

    def _is_mine(self, key: str) -> bool:
        return (
            int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % self.shards == self.shard % self.shards
        )

    def _default_concurrency(self) -> int:
        # twice the endpoints' own limit keeps their slots full while other items parse, verify and journal
        return max([2 * c.endpoint.concurrency for c in self._clients.values()], default=IDLE_ITEMS)

    def _report_items(self, phase: str, todo: Mapping[str, Any], text: str) -> None:
        done = sum((phase, k) in self.journal.items for k in todo)
        self.progress(done, len(todo), text or f"{phase} {done} of {len(todo)}")

    async def flush(self) -> None:
        """Journals what has finished, with what it cost. One at a time: a flush that was left behind is awaited
        here.
        """
        async with self._flushing:
            now_used = {role: client.usage for role, client in self._clients.items()}
            spent = [subtract_usage(used, self._flushed.get(role)) for role, used in now_used.items()]
            served = [self._served(c.served_by) for c in self._clients.values() if c.served_by is not None]
            await self.journal.flush([u for u in spent if u.calls], served)
            self._flushed = now_used
        self.attempt.update(tokens=dict(self.journal.tokens))

    def _served(self, server: ServedBy) -> ServedBy:
        """With the digest of the weights where the endpoint does not say it: the operator serves this very
        checkpoint.
        """
        if server.role != "Policy" or server.weights or server.standin:
            return server
        return server.model_copy(update={"weights": self.config.candidate_model or self.config.base_model})

    def counts(self, out: int, dropped: Mapping[str, int] | None = None) -> Counts:
        """Counts of `out` kept items and the drops so far (or those given); in is their sum."""
        lost = self.dropped if dropped is None else dropped
        drops = [Dropped(reason=reason, count=n) for reason, n in sorted(lost.items()) if n]
        return Counts(in_=out + sum(d.count for d in drops), out=out, dropped=drops)

    # ---- manifests ------------------------------------------------------------------------------------------------
    def manifest(self, result: StageResult, files: list[FileEntry]) -> Manifest:
        """The manifest of a result: usage, who answered and the stand-in mark come from here, never from the stage."""
        served = sorted(self.journal.served_by.values(), key=lambda s: (s.role, s.model, s.weights or ""))
        standin = any(s.standin for s in served) or any(m.standin for m in self.inputs.values())
        usage = Usage(
            seconds=round(time.monotonic() - self._started, 3),
            roles=sorted(self.journal.usage.values(), key=lambda u: u.role),
        )
        return Manifest(
            kind=result.kind,
            owner=self.config.owner,
            stage=self.config.stage.value,
            attempt=self.config.attempt,
            inputs=dict(self.config.inputs),
            config_digest=artifacts.digest_of(artifacts.canonical_json(self.config.dump())),
            files=files,
            counts=result.counts,
            usage=usage,
            metrics=result.metrics,
            details=result.details,
            served_by=served,
            standin=standin,
            notice=artifacts.STANDIN_NOTICE if standin else None,
            code_version=code_version(),
            image=os.environ.get("FLYWHEEL_IMAGE", ""),
            created_at=now(),
        )

    async def put_dataset(self, files: list[OutputFile], details: dict[str, Any] | None = None) -> str:
        """Stores a manifest of its own by digest (not a commit), for a part that others refer to; returns the
        digest.
        """
        await self.flush()
        entries = await asyncio.to_thread(self._store_files, files)
        n = sum(f.records or 0 for f in entries)
        result = StageResult(ManifestKind.DATASET, counts=Counts(in_=n, out=n), details=details or {})
        return await asyncio.to_thread(self.store.put_manifest, self.manifest(result, entries))

    async def commit(self, result: StageResult) -> str:
        """Stores the files and commits the manifest, last; returns the digest that stands."""
        check_counts(result.counts)
        await self.flush()
        entries = await asyncio.to_thread(self._store_files, result.files)
        return await asyncio.to_thread(self.attempt.commit, self.manifest(result, entries))

    def _store_files(self, files: list[OutputFile]) -> list[FileEntry]:
        return [store_file(self.store, f) for f in files]


def check_counts(counts: Counts) -> None:
    """Raises RuntimeError (a bug of the stage) unless in = out + dropped."""
    dropped = sum(d.count for d in counts.dropped)
    if counts.in_ != counts.out + dropped:
        raise RuntimeError(f"counts do not add up: in {counts.in_}, out {counts.out}, dropped {dropped}")


def store_file(store: Store, file: OutputFile) -> FileEntry:
    """Uploads one output file."""
    records = file.records
    if isinstance(file.content, bytes):
        sha, size = store.put_blob(file.content)
    elif isinstance(file.content, Path):
        sha, size = store.put_blob_file(file.content)
    else:
        records = len(file.content)
        sha, size = store.put_blob(b"".join(artifacts.canonical_json(dict(r)) + b"\n" for r in file.content))
    return FileEntry(path=file.path, sha256=sha, size=size, records=records, record_schema=file.schema)
