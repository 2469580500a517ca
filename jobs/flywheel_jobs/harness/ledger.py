"""What the stages of a round take of a role's token budget: one account in the store, as a ledger of leases.

Stages run side by side, each in several pods, and none sees what another spends. So each takes a lease before it asks
and gives back what it did not use. An entry of the ledger is the whole state under the next number, created only where
none is: of two that write at once one comes second, reads, and tries again. Nothing is changed or removed. A lease that
nobody gives back, because its pod died, stays counted: what it paid for since its last word is known to nobody.

A lease grows while it lasts less than a few seconds, so that a fast stage writes seldom, and is never much of what is
left, so that none hoards.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from pydantic import Field

from flywheel_api import artifacts
from flywheel_api.base import StatusModel
from flywheel_jobs.core.errors import CorruptArtifact, StoreProblem
from flywheel_jobs.endpoints.purse import Lent
from flywheel_jobs.storage.datasets import read_model
from flywheel_jobs.storage.store import Store

LEASES = 512  # a lease is at least this part of the budget ...
LEASE_SECONDS = 5.0  # ... and twice the last one where that was used up sooner
SHARE = 4  # of what is left: at most this part beyond what is needed now
QUIET_SECONDS = 120.0  # leases of a ledger in which nobody has written for so long are nobody's who could give back


class Entry(StatusModel):
    """How the account stands."""

    spent: int = Field(default=0, description="By those that have given their leases back.")
    leases: dict[str, int] = Field(default_factory=dict, description="Tokens that a process may use, by its name.")

    @property
    def taken(self) -> int:
        """Tokens that are used or may be."""
        return self.spent + sum(self.leases.values())

    def settled(self, name: str, spent: int, lease: int) -> Entry:
        """The next entry: a process has spent so much of its lease, and has that one now."""
        others = {n: tokens for n, tokens in self.leases.items() if n != name}
        return Entry(spent=self.spent + spent, leases=others | ({name: lease} if lease else {}))


class Ledger:
    """One process's part in one role's budget. Tokens are counted since the process began."""

    def __init__(
        self,
        store: Store,
        owner_uid: str,
        role: str,
        limit: int,
        holder: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`holder` tells a reader of the ledger who it is; `clock` counts seconds."""
        self._store, self._limit, self._clock = store, limit, clock
        self._prefix = artifacts.ledger_prefix(owner_uid, role)
        self._name = f"{holder}/{os.urandom(6).hex()}"
        self._entry, self._number = Entry(), 0
        self._returned = 0  # tokens of mine that are in `spent`
        self._more = limit // LEASES
        self._written_at, self._changed_at = float("-inf"), clock()
        self._lock = threading.Lock()

    async def lend(self, committed: int, need: int, idle: bool) -> Lent:
        """See Lender. Raises StoreProblem."""
        return await asyncio.to_thread(self._lend, committed, need, idle)

    async def close(self, used: int) -> None:
        """See Lender. Where the store is away the lease stays counted."""
        if self._number:
            with suppress(StoreProblem, CorruptArtifact):
                await asyncio.to_thread(self._give_back, used)

    @property
    def _lease(self) -> int:
        return self._entry.leases.get(self._name, 0)

    def _lend(self, committed: int, need: int, idle: bool) -> Lent:
        with self._lock:
            room = self._take(committed, need)
            if room <= 0 and idle:
                self._return(committed)
            waits = bool(self._entry.leases) and self._clock() - self._changed_at < QUIET_SECONDS
            said = f"{self._entry.taken} of the round's {self._limit} tokens are used or lent"
            return Lent(self._returned + self._lease, waits, said)

    def _take(self, committed: int, need: int) -> int:
        """Takes a lease for `need` more, unless nothing is left; what is left for this process."""
        sure = False
        while True:
            mine = committed - self._returned
            room = self._limit - (self._entry.taken - self._lease) - mine
            if self._lease >= mine + need or (room <= 0 and sure):
                return room
            if room > 0:  # the last lease may be larger than what is left: that is the one request too much
                more = max(self._more, need)
                lease = mine + need + min(more, max(0, room - need) // SHARE)
                if self._write(self._entry.settled(self._name, 0, lease)):
                    self._pace(more)
                    return room
            else:
                self._catch_up()
            sure = True

    def _pace(self, last: int) -> None:
        """Sizes the next lease by how long the one before this lasted."""
        now = self._clock()
        soon = now - self._written_at < LEASE_SECONDS
        self._more = max(self._limit // LEASES, 2 * last if soon else last // 2)
        self._written_at = now

    def _give_back(self, used: int) -> None:
        with self._lock:
            self._return(used)

    def _return(self, used: int) -> None:
        while self._lease:
            self._write(self._entry.settled(self._name, used - self._returned, 0))
        self._returned = used

    def _write(self, entry: Entry) -> bool:
        """Makes an entry the next one; else reads what stands instead."""
        if self._store.put_json_new(self._key(self._number + 1), entry):
            self._entry, self._number, self._changed_at = entry, self._number + 1, self._clock()
            return True
        self._catch_up()
        return False

    def _catch_up(self) -> None:
        """Reads the last entry."""
        names = self._store.list_keys(self._prefix)
        last = int(names[-1].removeprefix(self._prefix).partition(".")[0]) if names else 0
        if last > self._number:
            self._entry, self._number = read_model(self._store, self._key(last), Entry) or self._entry, last
            self._changed_at = self._clock()

    def _key(self, number: int) -> str:
        return f"{self._prefix}{number:08d}.json"
