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
from flywheel_api.artifacts import Counts, Dropped, FileEntry, Manifest, RoleUsage, ServedBy, Usage
from flywheel_api.base import StatusModel
from flywheel_api.canonical import canonical_json
from flywheel_api.records.base import Record
from flywheel_api.results import EndpointFinding, Result
from flywheel_api.round import AgenticSpec, FlywheelRoundSpec, ReasoningSpec, Role
from flywheel_api.stages import IMAGE_ENV, ResolvedEndpoint, Stage, StageConfig
from flywheel_jobs.core.errors import CorruptArtifact, ValidationFailure
from flywheel_jobs.core.version import code_version
from flywheel_jobs.endpoints.handshake import shake
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.endpoints.pace import Pace
from flywheel_jobs.harness.attempt import Attempt
from flywheel_jobs.harness.journal import Journal, budgeted, subtract_usage
from flywheel_jobs.harness.pulse import now
from flywheel_jobs.harness.pump import Pump
from flywheel_jobs.storage.datasets import read_records
from flywheel_jobs.storage.store import Store

T = TypeVar("T")
R = TypeVar("R", bound=Record)
M = TypeVar("M", bound=StatusModel)
FALLBACK_ROLE = Role.TEACHER
IDLE_ITEMS = 64  # items in flight when no endpoint bounds them


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
        self.shards = config.shards
        self.attempt = attempt or Attempt(store, config.owner, config.stage.value, config.attempt, config.content_key)
        self.inputs: dict[str, Manifest] = {}
        self.dropped: Counter[str] = Counter()
        self.journal = Journal(store, config.owner, config.content_key, config.attempt, shard)
        self._clients: dict[Role, ChatClient] = {}
        self._paces: dict[tuple[str, str, str | None], Pace] = {}
        self._flushed: dict[Role, RoleUsage] = {}
        self._told: dict[Role, Counter[str]] = {}
        self._waits: dict[Role, str] = {}
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
        if self.shards > 1:
            text = f"shard {self.shard + 1} of {self.shards}: {text}"
        waiting = next(iter(self._waits.values()), None)
        self.attempt.update(
            done=done,
            total=total,
            items=len(self.journal.items),
            text=text,
            waiting_for=waiting,
            tokens_per_second=self._speed(),
        )

    def _speed(self) -> float | None:
        tokens = sum(c.usage.completion_tokens for c in self._clients.values())
        return round(tokens / max(1e-3, time.monotonic() - self._started), 1) if tokens else None

    def _waiting(self, role: Role) -> Callable[[str | None], None]:
        def report(text: str | None) -> None:
            if text is None:
                self._waits.pop(role, None)
            else:
                self._waits[role] = text
            self.attempt.update(waiting_for=next(iter(self._waits.values()), None))

        return report

    # ---- models ---------------------------------------------------------------------------------------------------
    def llm(self, role: Role) -> ChatClient:
        """The client of a role; a role without an endpoint falls back to Teacher. Raises ValidationFailure if none."""
        if role not in self._clients:
            endpoint = self.endpoint(role).model_copy(update={"role": role})
            address = (endpoint.url, endpoint.model, endpoint.api_key_env)
            self._paces.setdefault(address, Pace(*self._limits(endpoint)))
            self._clients[role] = ChatClient(
                endpoint,
                patience_seconds=self.config.endpoint_patience_seconds,
                on_wait=self._waiting(role),
                steady=self._steady(role),
                pace=self._paces[address],
            )
            self._share(self._clients[role])
        return self._clients[role]

    def _limits(self, endpoint: ResolvedEndpoint) -> tuple[int, float | None]:
        """Concurrency and requests a minute of one shard: a limit of the spec holds over all of them."""
        most, rate = endpoint.concurrency, endpoint.requests_per_minute
        part, rest = divmod(most, self.shards)
        return max(1, part + (self.shard % self.shards < rest)), rate / self.shards if rate else None

    def _share(self, client: ChatClient) -> None:
        """Sets this shard's part of the role's budget; a single shard has all that the owner has left."""
        limit, own = client.endpoint.token_limit, budgeted(client.usage)
        if self.shards > 1:
            before = self.journal.of_shard.get(client.role)
            part = None if limit is None else limit // self.shards
            client.purse.share(part, budgeted(before) if before else 0)
        else:
            client.purse.share(limit, self.journal.tokens.get(client.role, 0) - own)

    def _steady(self, role: Role) -> str | None:
        """The model name that all answers must have where they make a score; empty until the first one says it."""
        if role is not Role.POLICY or self.config.stage not in (Stage.EVALUATE_BASE, Stage.EVALUATE_CANDIDATE):
            return None
        return next((s.model for s in self.journal.served_by.values() if s.role == role and s.answers), "")

    async def _alone(self) -> None:
        """The other shards have ended: their parts of all limits are this one's."""
        self.shards = 1
        await self.flush()
        for client in self._clients.values():
            client.pace.widen(*self._limits(client.endpoint))
            self._share(client)

    async def shake_hands(self) -> list[EndpointFinding]:
        """What handshakes with this stage's endpoints find, by role; one that plays several is asked once."""
        found: dict[tuple[str, str], EndpointFinding] = {}
        for endpoint in self.config.endpoints:
            address = (endpoint.url, endpoint.model)
            if address not in found:
                found[address] = await shake(self.llm(endpoint.role), with_tools=self.spec.agentic is not None)
        return [found[(e.url, e.model)].model_copy(update={"role": e.role}) for e in self.config.endpoints]

    def endpoint(self, role: Role) -> ResolvedEndpoint:
        """The endpoint that plays a role."""
        by_role = {e.role: e for e in self.config.endpoints}
        found = by_role.get(role) or (by_role.get(FALLBACK_ROLE) if role is not Role.POLICY else None)
        if found is None:
            raise ValidationFailure(f"{self.config.stage} needs an endpoint for role {role}: add it to spec.endpoints")
        return found

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
            await pump.run(mine, self._concurrency())
        if self.shards > 1:
            await asyncio.to_thread(self.journal.load)
            if any((phase, k) not in self.journal.items for k in todo):
                raise ShardDone
            await self._alone()
        found = {k: self.journal.items[(phase, k)] for k in todo}
        self.dropped.update(i.dropped for i in found.values() if i.dropped)
        return {k: kind.model_validate(i.result) for k, i in found.items() if i.result is not None}

    def _is_mine(self, key: str) -> bool:
        return (
            int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % self.shards == self.shard % self.shards
        )

    def _concurrency(self) -> int:
        # twice the endpoints' own limit keeps their slots full while other items parse, verify and journal
        return max([2 * c.pace.most for c in self._clients.values()], default=IDLE_ITEMS)

    def _report_items(self, phase: str, todo: Mapping[str, object], text: str) -> None:
        done = sum((phase, k) in self.journal.items for k in todo)
        self.progress(done, len(todo), text or f"{phase} {done} of {len(todo)}")

    async def flush(self) -> None:
        """Journals what has finished, with what it cost; one at a time: it awaits a flush that was left behind."""
        async with self._flushing:
            now_used = {role: client.usage for role, client in self._clients.items()}
            spent = [subtract_usage(used, self._flushed.get(role)) for role, used in now_used.items()]
            named = {role: Counter(client.answered) for role, client in self._clients.items()}
            served = [s for role, names in named.items() for s in await self._served(role, names)]
            await self.journal.flush([u for u in spent if u.calls or u.unconfirmed_tokens], served)
            self._flushed, self._told = now_used, named
        self.attempt.update(tokens=dict(self.journal.tokens))

    async def _served(self, role: Role, names: Counter[str]) -> list[ServedBy]:
        """Who answered since the last flush, by the model that the answers name.

        With the digest of the weights where the endpoint does not say it: the operator serves that checkpoint.
        """
        new = names - self._told.get(role, Counter())
        if not new:
            return []
        server = await self._clients[role].identify()
        if role is Role.POLICY and not server.weights and not server.standin:
            weights = self.config.candidate_model or self.config.base_model
            server = server.model_copy(update={"weights": weights})
        return [server.model_copy(update={"model": name, "answers": count}) for name, count in new.items()]

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
