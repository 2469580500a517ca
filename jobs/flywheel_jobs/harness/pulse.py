"""Where a process stands, written to the store by a thread of its own: progress with a heartbeat.

A busy or blocked main thread still shows a heartbeat, while `updatedAt` moves only when something really advanced
(law 8): items, steps, checkpoints, texts, and bytes of files on their way.
"""

from __future__ import annotations

import threading
from typing import TypedDict, Unpack

from flywheel_api.artifacts import Progress
from flywheel_api.results import EndpointFinding
from flywheel_jobs.core.clock import now
from flywheel_jobs.core.logging import get_logger, redact
from flywheel_jobs.storage.store import Store
from flywheel_store.traffic import MOVED

log = get_logger(__name__)

HEARTBEAT_SECONDS = 10.0
MIN_WRITE_SECONDS = 1.0  # progress that advances faster is written at this pace
ADVANCES = ("done", "step", "checkpoint_step", "moved_bytes")  # fields that move `updatedAt`


class Advance(TypedDict, total=False):
    """Fields of Progress that the work itself sets."""

    done: int
    total: int | None
    items: int
    text: str
    waiting_for: str | None
    step: int | None
    reward: float | None
    tokens_per_second: float | None
    tokens: dict[str, int]
    eta_seconds: float | None
    checkpoint_step: int | None
    checkpoint_digest: str | None
    resumed_from_step: int | None
    unhealthy: str | None
    tracked: str | None
    untracked: str | None
    report: str | None
    manifest: str | None
    endpoints: list[EndpointFinding]
    moved_bytes: int


class Pulse:
    """The progress record under `key`. Thread-safe.

    Without a `heartbeat` it is written only when something advanced: where several processes share a key, those that
    stand still would else write over one another, and each change of hands would look like an advance.
    """

    def __init__(self, store: Store, key: str, heartbeat: bool = True) -> None:
        self.store = store
        self.key = key
        self._heartbeat, self._told = heartbeat, ""
        self._write_lock = threading.Lock()
        self._state = Progress(updated_at=now(), heartbeat_at=now())
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._moved_before = MOVED.total
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts writing: at once, on every advance (at most once a second), and as a heartbeat."""
        self._thread = threading.Thread(target=self._beat, name="progress", daemon=True)
        self._thread.start()

    def update(self, **fields: Unpack[Advance]) -> None:
        """Sets fields. `updatedAt` moves with what `ADVANCES` names and, unless it waits, with the text."""
        with self._write_lock:
            old = self._state
            new = old.model_copy(update=dict(fields))
            advanced = any(getattr(new, name) != getattr(old, name) for name in ADVANCES)
            advanced = advanced or (new.text != old.text and new.waiting_for is None)
            if new == old:
                return
            self._state = new.model_copy(update={"updated_at": now()}) if advanced else new
        self._changed.set()

    @property
    def progress(self) -> Progress:
        """The latest progress."""
        return self._state

    def stop(self) -> None:
        """Writes the last progress and stops."""
        self._stopped.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join(timeout=30)
            self._thread = None

    def look(self) -> Progress:
        """The progress of now: with the bytes that have moved, and a heartbeat."""
        self.update(moved_bytes=MOVED.total - self._moved_before)
        with self._write_lock:
            return self._state.model_copy(
                update={
                    "heartbeat_at": now(),
                    "text": redact(self._state.text)[:256],
                    "waiting_for": redact(self._state.waiting_for)[:512] if self._state.waiting_for else None,
                }
            )

    def _beat(self) -> None:
        while True:
            self._changed.clear()
            self._write()
            if self._stopped.wait(MIN_WRITE_SECONDS):
                self._write()
                return
            self._changed.wait(HEARTBEAT_SECONDS - MIN_WRITE_SECONDS)

    def _write(self) -> None:
        seen = self.look()
        if not self._heartbeat and seen.updated_at == self._told:
            return
        try:
            self.store.put_json(self.key, seen)
            self._told = seen.updated_at
        except Exception as error:  # a lost heartbeat must not end the work; the work finds the store gone by itself
            log.warning("progress not written", error=str(error))
