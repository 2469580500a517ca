"""The models that a stage asks: a client for each role, and what of the spec's limits is this shard's."""

from __future__ import annotations

import time
from collections.abc import Callable

from flywheel_api.artifacts import RoleUsage, ServedBy
from flywheel_api.canonical import canonical_json
from flywheel_api.results import EndpointFinding
from flywheel_api.round import Role
from flywheel_api.stages import ResolvedEndpoint, Stage, StageConfig
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.endpoints.handshake import shake
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.endpoints.pace import Pace
from flywheel_jobs.endpoints.served import Rows, Steady, first
from flywheel_jobs.harness.journal import Journal, subtract_usage
from flywheel_jobs.harness.ledger import Ledger

FALLBACK_ROLE = Role.TEACHER
IDLE_ITEMS = 64  # items in flight when no endpoint bounds them


class Clients:
    """The clients of one process."""

    def __init__(
        self, config: StageConfig, journal: Journal, shard: int, on_wait: Callable[[str | None], None]
    ) -> None:
        """`on_wait` hears what the stage waits for, or None."""
        self.config = config
        self.journal = journal
        self.shard = shard
        self.shards = config.shards
        self.workers = min([config.shards, *(_least(e) for e in config.endpoints)])  # shards that have items
        self._on_wait = on_wait
        self._clients: dict[Role, ChatClient] = {}
        self._paces: dict[tuple[str, str, str | None], Pace] = {}
        self._flushed: dict[Role, RoleUsage] = {}
        self._told: dict[Role, Rows] = {}
        self._waits: dict[Role, str] = {}
        self._started = time.monotonic()

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            await client.aclose()

    def of(self, role: Role) -> ChatClient:
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
                lender=self._lender(endpoint),
            )
        return self._clients[role]

    def endpoint(self, role: Role) -> ResolvedEndpoint:
        """The endpoint that plays a role."""
        by_role = {e.role: e for e in self.config.endpoints}
        found = by_role.get(role) or (by_role.get(FALLBACK_ROLE) if role is not Role.POLICY else None)
        if found is None:
            raise ValidationFailure(f"{self.config.stage} needs an endpoint for role {role}: add it to spec.endpoints")
        return found

    async def shake_hands(self) -> list[EndpointFinding]:
        """What handshakes with this stage's endpoints find, by role; one that plays several is asked once."""
        found: dict[tuple[str, str, bytes], EndpointFinding] = {}
        for endpoint in self.config.endpoints:
            asked = _asked(endpoint)
            if asked not in found:
                found[asked] = await shake(self.of(endpoint.role), with_tools=self.config.spec.agentic is not None)
        return [found[_asked(e)].model_copy(update={"role": e.role}) for e in self.config.endpoints]

    # ---- limits ---------------------------------------------------------------------------------------------------
    def _limits(self, endpoint: ResolvedEndpoint) -> tuple[int, int | None]:
        """Concurrency and requests a minute of one shard: a limit of the spec holds over all of them."""
        rate = endpoint.requests_per_minute
        return self._share(endpoint.concurrency), self._share(rate) if rate else None

    def _share(self, limit: int) -> int:
        part, rest = divmod(limit, self.workers)
        return part + (self.shard % self.workers < rest)

    def _lender(self, endpoint: ResolvedEndpoint) -> Ledger | None:
        """The role's budget, if it has one: of all shards and all stages."""
        if endpoint.token_limit is None:
            return None
        holder = f"{self.config.stage}/{self.config.attempt}/{self.shard}"
        return Ledger(self.journal.store, self.config.owner.uid, endpoint.role, endpoint.token_limit, holder)

    def alone(self) -> None:
        """The other shards have ended: their parts of the endpoints' limits are this one's."""
        self.shards = self.workers = 1
        for client in self._clients.values():
            client.pace.widen(*self._limits(client.endpoint))

    def concurrency(self) -> int:
        """How many items may be worked on at once."""
        # twice the endpoints' own limit keeps their slots full while other items parse, verify and journal
        return max([2 * c.pace.most for c in self._clients.values()], default=IDLE_ITEMS)

    # ---- what they did --------------------------------------------------------------------------------------------
    @property
    def speed(self) -> float | None:
        """Completion tokens a second since the start."""
        tokens = sum(c.usage.completion_tokens for c in self._clients.values())
        return round(tokens / max(1e-3, time.monotonic() - self._started), 1) if tokens else None

    @property
    def waiting_for(self) -> str | None:
        """What the stage waits for, if anything."""
        return next(iter(self._waits.values()), None)

    def _waiting(self, role: Role) -> Callable[[str | None], None]:
        def report(text: str | None) -> None:
            if text is None:
                self._waits.pop(role, None)
            else:
                self._waits[role] = text
            self._on_wait(self.waiting_for)

        return report

    def _steady(self, role: Role) -> Steady | None:
        """The one model that all answers must be of where they make a score: that of earlier attempts, if any."""
        if role is not Role.POLICY or self.config.stage not in (Stage.EVALUATE_BASE, Stage.EVALUATE_CANDIDATE):
            return None
        return first(self.journal.served_by.values(), role)

    async def flush(self) -> None:
        """Journals what has finished, with what it cost and who answered; now and then looks who that is."""
        now_used = {role: client.usage for role, client in self._clients.items()}
        spent = [subtract_usage(used, self._flushed.get(role)) for role, used in now_used.items()]
        told = {role: dict(client.answers) for role, client in self._clients.items()}
        served = [s for role, rows in told.items() for s in await self._served(role, rows)]
        said_at = max((client.said_at for client in self._clients.values()), default="")
        await self.journal.flush([u for u in spent if u.calls or u.unconfirmed_tokens], served, said_at)
        self._flushed, self._told = now_used, told
        for client in self._clients.values():
            client.look()

    async def _served(self, role: Role, rows: Rows) -> list[ServedBy]:
        """Who answered since the last flush, by what the answers say and what the server said last.

        With the digest of the weights where the endpoint does not say it: the operator serves that checkpoint.
        """
        before = self._told.get(role, {})
        new = {key: row.answers - (before[key].answers if key in before else 0) for key, row in rows.items()}
        if not any(new.values()):
            return []
        server = await self._clients[role].identify()
        if role is Role.POLICY and not server.weights and not server.standin:
            weights = self.config.candidate_model or self.config.base_model
            server = server.model_copy(update={"weights": weights, "weights_assumed": True})
        return [
            server.model_copy(update={"model": rows[key].model, "fingerprint": rows[key].fingerprint, "answers": count})
            for key, count in new.items()
            if count
        ]


def _asked(endpoint: ResolvedEndpoint) -> tuple[str, str, bytes]:
    """What a handshake is with: a model at an address, asked in a way that the server may refuse."""
    return endpoint.url, endpoint.model, canonical_json(endpoint.written)


def _least(endpoint: ResolvedEndpoint) -> int:
    """How many shards a part of each limit can be had by: none has a part of nothing."""
    return min(endpoint.concurrency, endpoint.requests_per_minute or endpoint.concurrency)
