"""What a CPU stage gets (`StageContext`) and gives (`StageResult`).

A stage reads input manifests, calls endpoints through `ctx.llm`, does its per-item work through `ctx.map_items`, and
returns its result, files and counts, which the harness commits. What else it writes is no result: the parts that its
result names (`ctx.put_part`), the gate's promotion record, the report's copy under a stable key.
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
from typing import TypeVar

from flywheel_api import artifacts
from flywheel_api.artifacts import Counts, Dropped, FileEntry, Manifest, Usage
from flywheel_api.base import StatusModel
from flywheel_api.canonical import canonical_json
from flywheel_api.records.base import Record
from flywheel_api.results import EndpointFinding, Result
from flywheel_api.round import AgenticSpec, FlywheelRoundSpec, ReasoningSpec, Role
from flywheel_api.stages import IMAGE_ENV, Stage, StageConfig
from flywheel_jobs.core.clock import now
from flywheel_jobs.core.errors import CorruptArtifact, ValidationFailure
from flywheel_jobs.core.version import code_version
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.harness.attempt import Attempt
from flywheel_jobs.harness.clients import Clients
from flywheel_jobs.harness.journal import Journal
from flywheel_jobs.harness.pump import Pump
from flywheel_jobs.storage.datasets import read_records
from flywheel_jobs.storage.store import Store

T = TypeVar("T")
R = TypeVar("R", bound=Record)
M = TypeVar("M", bound=StatusModel)


class ShardDone(Exception):
    """This shard did its keys and others are still at theirs: the last one commits."""


@dataclass(frozen=True)
class OutputFile:
    """A file of the stage's manifest."""

    path: str
    content: bytes
    schema: str
    records: int | None = None

    @classmethod
    def of(cls, path: str, kind: type[R], records: Sequence[R]) -> OutputFile:
        """Records as JSON Lines."""
        lines = b"".join(canonical_json(r.dump()) + b"\n" for r in records)
        return cls(path, lines, kind.schema_name(), len(records))


@dataclass(frozen=True)
class StageResult:
    """What a stage commits. `counts` must add up: in = out + dropped."""

    result: Result
    files: list[OutputFile] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    metrics: dict[str, float] = field(default_factory=dict)


class StageContext:
    """The world of a stage."""

    def __init__(self, config: StageConfig, store: Store, shard: int = 0, attempt: Attempt | None = None) -> None:
        self.config = config
        self.spec: FlywheelRoundSpec = config.spec
        self.store = store
        self.shard = shard
        self.attempt = attempt or Attempt(store, config.owner, config.stage.value, config.attempt, config.content_key)
        self.inputs: dict[str, Manifest] = {}
        self.dropped: Counter[str] = Counter()
        self.journal = Journal(store, config.owner, config.content_key, config.attempt, shard)
        self._clients = Clients(config, self.journal, shard, lambda text: self.attempt.update(waiting_for=text))
        self._flushing = asyncio.Lock()
        self._started = time.monotonic()

    async def open(self) -> None:
        """Reads and verifies the input manifests and the journal."""
        for name, digest in self.config.inputs.items():
            self.inputs[name] = await asyncio.to_thread(self.store.get_manifest, digest)
        await asyncio.to_thread(self.journal.load)

    async def close(self) -> None:
        """Closes all connections."""
        await self._clients.aclose()

    # ---- inputs ---------------------------------------------------------------------------------------------------
    @property
    def reasoning(self) -> ReasoningSpec:
        """The reasoning track of the round. Raises ValidationFailure when it has none."""
        if self.spec.reasoning is None:
            raise ValidationFailure(f"{self.config.stage} belongs to the reasoning track: give spec.reasoning")
        return self.spec.reasoning

    @property
    def agentic(self) -> AgenticSpec:
        """The agentic track of the round. Raises ValidationFailure when it has none."""
        if self.spec.agentic is None:
            raise ValidationFailure(f"{self.config.stage} belongs to the agentic track: give spec.agentic")
        return self.spec.agentic

    def input(self, stage: Stage) -> Manifest:
        """The manifest of an input stage. Raises ValidationFailure if it was not given."""
        if stage not in self.inputs:
            raise ValidationFailure(f"{self.config.stage} needs the manifest of {stage}, which it was not given")
        return self.inputs[stage]

    def result(self, stage: Stage, kind: type[M]) -> M:
        """The result of an input stage. Raises CorruptArtifact when its manifest holds another kind."""
        found = self.input(stage).result
        if not isinstance(found, kind):
            raise CorruptArtifact(f"the manifest of {stage} holds a {found.kind} result, no {kind.__name__}")
        return found

    def records(self, stage: Stage, path: str, kind: type[R]) -> list[R]:
        """Records of a file of an input stage, verified. Raises CorruptArtifact if it is absent or of another kind."""
        entry = self.input(stage).file(path)
        if entry is None:
            raise CorruptArtifact(f"the manifest of {stage} has no file {path}")
        return list(read_records(self.store, entry, kind))

    def rng(self, *parts: object) -> random.Random:
        """A generator seeded by (round seed, stage, parts): the same in every attempt and on every machine."""
        return random.Random(self.seed(*parts))

    def seed(self, *parts: object) -> int:
        """A seed in [0, 2^31) from (round seed, stage, parts)."""
        text = "/".join(str(p) for p in (self.spec.seed, self.config.stage.value, *parts))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1

    # ---- progress -------------------------------------------------------------------------------------------------
    def progress(self, done: int, total: int | None, text: str) -> None:
        """Says where the stage stands; shown in the round's status."""
        if self._clients.shards > 1:
            text = f"shard {self.shard + 1} of {self._clients.shards}: {text}"
        self.attempt.update(
            done=done,
            total=total,
            items=len(self.journal.items),
            text=text,
            waiting_for=self._clients.waiting_for,
            tokens_per_second=self._clients.speed,
        )

    # ---- models ---------------------------------------------------------------------------------------------------
    def llm(self, role: Role) -> ChatClient:
        """The client of a role; a role without an endpoint falls back to Teacher. Raises ValidationFailure if none."""
        return self._clients.of(role)

    async def shake_hands(self) -> list[EndpointFinding]:
        """What handshakes with this stage's endpoints find, by role."""
        return await self._clients.shake_hands()

    # ---- items ----------------------------------------------------------------------------------------------------
    async def map_items(
        self,
        items: Iterable[T],
        key: Callable[[T], str],
        work: Callable[[T], Awaitable[M]],
        kind: type[M],
        phase: str = "items",
        text: str = "",
    ) -> dict[str, M]:
        """Results by key, in the order of `items`, of those that were not dropped; drops are counted in `dropped`.

        Finished items are journaled, so a restart fills only the missing. With several shards this returns only in the
        last one, with everybody's results (the others end); later phases then run in that one.
        """
        todo = {key(item): item for item in items}
        mine = {k: v for k, v in todo.items() if self._is_mine(k) and (phase, k) not in self.journal.items}
        self._report_items(phase, todo, text)
        if mine:
            pump = Pump(self.journal, phase, work, self.flush, lambda: self._report_items(phase, todo, text))
            await pump.run(mine, self._clients.concurrency())
        if self._clients.shards > 1:
            await asyncio.to_thread(self.journal.load)
            if any((phase, k) not in self.journal.items for k in todo):
                raise ShardDone
            await self.flush()
            self._clients.alone()
        found = {k: self.journal.items[(phase, k)] for k in todo}
        self.dropped.update(i.dropped for i in found.values() if i.dropped)
        return {k: kind.model_validate(i.result) for k, i in found.items() if i.result is not None}

    def _is_mine(self, key: str) -> bool:
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
        return self._clients.shards == 1 or number % self._clients.workers == self.shard

    def _report_items(self, phase: str, todo: Mapping[str, object], text: str) -> None:
        done = sum((phase, k) in self.journal.items for k in todo)
        self.progress(done, len(todo), text or f"{phase} {done} of {len(todo)}")

    async def flush(self) -> None:
        """Journals what has finished, with what it cost; one at a time: it awaits a flush that was left behind."""
        async with self._flushing:
            await self._clients.flush()
        self.attempt.update(tokens=dict(self.journal.tokens))

    async def doubt(self, whole: bool = False) -> None:
        """Has items asked again that finished since the policy's server last said which weights it serves.

        All of them where it never said any, or where they are doubted as a `whole`.
        """
        async with self._flushing:
            await self.journal.doubt("" if whole else self.journal.said_at)

    def counts(self, out: int, dropped: Mapping[str, int] | None = None) -> Counts:
        """Counts of `out` kept items and the drops so far (or those given); in is their sum."""
        lost = self.dropped if dropped is None else dropped
        drops = [Dropped(reason=reason, count=n) for reason, n in sorted(lost.items()) if n]
        return Counts(in_=out + sum(d.count for d in drops), out=out, dropped=drops)

    # ---- manifests ------------------------------------------------------------------------------------------------
    def manifest(self, result: StageResult, files: list[FileEntry]) -> Manifest:
        """The manifest of a result: usage, who answered and the stand-in mark come from here, never from the stage."""
        served = [row for _, row in sorted(self.journal.served_by.items(), key=lambda one: [str(x) for x in one[0]])]
        standin = any(s.standin for s in served) or any(m.standin for m in self.inputs.values())
        usage = Usage(
            seconds=round(time.monotonic() - self._started, 3),
            roles=sorted(self.journal.usage.values(), key=lambda u: u.role),
            taken_over=sorted(self.journal.taken_over.values(), key=lambda u: u.role),
        )
        return Manifest(
            owner=self.config.owner,
            stage=self.config.stage.value,
            attempt=self.config.attempt,
            content_key=self.config.content_key,
            made_of=self.config.made_of,
            inputs=dict(self.config.inputs),
            files=files,
            counts=result.counts,
            usage=usage,
            metrics=result.metrics,
            result=result.result,
            served_by=served,
            standin=standin,
            notice=artifacts.STANDIN_NOTICE if standin else None,
            code_version=code_version(),
            image=os.environ.get(IMAGE_ENV, ""),
            created_at=now(),
        )

    async def put_part(self, result: Result, files: list[OutputFile]) -> str:
        """Stores a part that others refer to as a manifest of its own, not a commit; returns its digest."""
        await self.flush()
        entries = await asyncio.to_thread(self._store_files, files)
        n = sum(f.records or 0 for f in entries)
        part = StageResult(result, counts=Counts(in_=n, out=n))
        return await asyncio.to_thread(self.store.put_manifest, self.manifest(part, entries))

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
    sha, size = store.put_blob(file.content)
    return FileEntry(path=file.path, sha256=sha, size=size, records=file.records, record_schema=file.schema)
