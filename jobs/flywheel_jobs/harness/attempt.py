"""One attempt in the store: its claim, its progress with a heartbeat, its failure record and its commit.

Used by CPU stages and by the trainer alike. Progress is written by a thread of its own, so that a busy or blocked main
thread still shows a heartbeat, while `updatedAt` moves only when something really advanced (law 8).
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import TypedDict, Unpack

from flywheel_api import artifacts
from flywheel_api.artifacts import Claim, Failure, Manifest, Owner, Progress
from flywheel_api.base import format_time
from flywheel_api.canonical import digest_of
from flywheel_api.causes import Cause, ExitCode, FlywheelError
from flywheel_api.conditions import truncate
from flywheel_jobs.core.errors import HeadLost
from flywheel_jobs.core.logging import get_logger, redact
from flywheel_jobs.storage.datasets import read_model
from flywheel_jobs.storage.store import Store
from flywheel_store.store import json_bytes
from flywheel_store.traffic import MOVED

log = get_logger(__name__)

HEARTBEAT_SECONDS = 10.0
MIN_WRITE_SECONDS = 1.0  # progress that advances faster is written at this pace
ADVANCES = ("done", "step", "checkpoint_step", "moved_bytes")  # fields that move `updatedAt` (law 8)
TERMINATION_LOG = "/dev/termination-log"


class Advance(TypedDict, total=False):
    """Fields of Progress that the work itself sets."""

    done: int
    total: int | None
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
    manifest: str | None
    moved_bytes: int


class Attempt:
    """Attempt `number` of `stage` of `owner`, whose result lies under `content_key` in the owner's namespace."""

    def __init__(self, store: Store, owner: Owner, stage: str, number: int, content_key: str) -> None:
        self.store = store
        self.owner = owner
        self.stage = stage
        self.number = number
        self.content_key = content_key
        self._write_lock = threading.Lock()
        self._state = Progress(updated_at=now(), heartbeat_at=now())
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._moved_before = MOVED.total
        self._thread: threading.Thread | None = None

    @property
    def manifest_key(self) -> str:
        """Where this attempt commits, and everybody else who makes the same."""
        return artifacts.manifest_key(self.owner.namespace, self.content_key)

    # ---- claim ----------------------------------------------------------------------------------------------------
    def claim(self) -> None:
        """Claims this attempt for this process. Raises HeadLost if an earlier incarnation already has (law 10)."""
        key = artifacts.claim_key(self.owner.uid, self.stage, self.number)
        incarnation = f"{platform.node()}/{os.getpid()}/{os.urandom(6).hex()}"
        mine = Claim(pod=os.environ.get("POD_NAME", platform.node()), incarnation=incarnation, at=now())
        if self.store.put_json_new(key, mine):
            return
        holder = read_model(self.store, key, Claim)
        who = f"pod {holder.pod} at {holder.at}" if holder else "a pod whose claim is gone"
        raise HeadLost(
            f"attempt {self.number} was already started by {who}: "
            "its Ray head was lost; the next attempt resumes from the last committed checkpoint"
        )

    def committed(self) -> str | None:
        """The digest of the result that stands, whoever made it; progress then names it, for the operator to take."""
        data = self.store.get_bytes(self.manifest_key)
        if data is None:
            return None
        digest = digest_of(data)
        self.update(manifest=digest)
        return digest

    def commit(self, manifest: Manifest) -> str:
        """Commits and returns the digest that stands, be it this one or another's; progress then names it."""
        done = self.store.commit(manifest, self.manifest_key)
        if not done.won and done.digest != manifest.digest:
            log.warning("another attempt committed first", standing=done.digest, ours=manifest.digest)
        self.update(manifest=done.digest)
        return done.digest

    # ---- progress -------------------------------------------------------------------------------------------------
    def start_heartbeat(self) -> None:
        """Starts writing progress.json: at once, on every advance (at most once a second), and as a heartbeat."""
        self._thread = threading.Thread(target=self._beat, name="progress", daemon=True)
        self._thread.start()

    def update(self, **fields: Unpack[Advance]) -> None:
        """Sets fields of Progress. `updatedAt` moves with what `ADVANCES` names and, unless it waits, with the text."""
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

    def stop_heartbeat(self) -> None:
        """Writes the last progress and stops."""
        self._stopped.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join(timeout=30)
            self._thread = None

    def _beat(self) -> None:
        while True:
            self._changed.clear()
            self._write_progress()
            if self._stopped.wait(MIN_WRITE_SECONDS):
                self._write_progress()
                return
            self._changed.wait(HEARTBEAT_SECONDS - MIN_WRITE_SECONDS)

    def _write_progress(self) -> None:
        self.update(moved_bytes=MOVED.total - self._moved_before)
        with self._write_lock:
            state = self._state.model_copy(
                update={
                    "heartbeat_at": now(),
                    "text": redact(self._state.text)[:256],
                    "waiting_for": redact(self._state.waiting_for)[:512] if self._state.waiting_for else None,
                }
            )
        try:
            self.store.put_json(artifacts.progress_key(self.owner.uid, self.stage, self.number), state)
        except Exception as error:  # a lost heartbeat must not end the work; the work finds the store gone by itself
            log.warning("progress not written", error=str(error))

    # ---- failure --------------------------------------------------------------------------------------------------
    def fail(self, error: BaseException) -> int:
        """Writes failure.json and the termination log; returns the exit code."""
        failure, code = described(error)
        write_termination_log(failure)
        try:
            self.store.put_json(artifacts.failure_key(self.owner.uid, self.stage, self.number), failure)
        except Exception as lost:
            log.warning("failure.json not written", error=str(lost))
        return code


def described(error: BaseException) -> tuple[Failure, int]:
    """The failure record and exit code of an exception."""
    if isinstance(error, FlywheelError):
        cause, reason, code, message = error.cause, error.reason, error.exit_code, str(error)
    else:
        cause, reason, code = Cause.APP, type(error).__name__, int(ExitCode.APP)
        frame = traceback.extract_tb(error.__traceback__)[-1:] if error.__traceback__ else []
        where = f" ({os.path.basename(frame[0].filename)}:{frame[0].lineno})" if frame else ""
        message = f"{type(error).__name__}: {error}{where}"
    return Failure(cause=cause, reason=reason, message=truncate(redact(message)), at=now()), int(code)


def write_termination_log(failure: Failure) -> None:
    """The same JSON line where kubelet reads it; silently nothing where there is no such file."""
    if os.path.exists(TERMINATION_LOG):
        try:
            with open(TERMINATION_LOG, "wb") as stream:
                stream.write(json_bytes(failure))
        except OSError:
            pass


def end(error: BaseException, attempt: Attempt | None) -> int:
    """Logs an error, records it as this attempt's failure (if there is an attempt) and returns the exit code."""
    failure, code = described(error)
    log.error("failed", cause=failure.cause, reason=failure.reason, detail=failure.message, exit_code=code)
    if not isinstance(error, FlywheelError):
        print(redact("".join(traceback.format_exception(error))), file=sys.stderr)
    if attempt is None:
        write_termination_log(failure)
        return code
    return attempt.fail(error)


def now() -> str:
    """The current time, RFC 3339 in UTC."""
    return format_time(datetime.now(UTC))
