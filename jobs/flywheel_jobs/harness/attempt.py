"""One attempt in the store: its claim, its progress, its failure record and its commit. Of CPU stages and trainings."""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Callable
from functools import partial

from flywheel_api import artifacts
from flywheel_api.artifacts import Claim, Failure, Manifest, Owner
from flywheel_api.canonical import digest_of
from flywheel_api.causes import Cause, ExitCode, FlywheelError
from flywheel_api.conditions import truncate
from flywheel_jobs.core.clock import now
from flywheel_jobs.core.errors import HeadLost
from flywheel_jobs.core.logging import get_logger, redact, traced
from flywheel_jobs.harness.pulse import Pulse
from flywheel_jobs.storage.datasets import read_model
from flywheel_jobs.storage.store import Store
from flywheel_store.store import json_bytes

log = get_logger(__name__)

TERMINATION_LOG = "/dev/termination-log"
RAY_CLUSTER_ENV = "RAY_CLUSTER_NAME"  # KubeRay sets it in every container of a cluster


class Attempt:
    """Attempt `number` of `stage` of `owner`, whose result lies under `content_key` in the owner's namespace."""

    def __init__(self, store: Store, owner: Owner, stage: str, number: int, content_key: str) -> None:
        self.store = store
        self.owner = owner
        self.stage = stage
        self.number = number
        self.content_key = content_key
        self.pulse = Pulse(store, artifacts.progress_key(owner.uid, stage, number))
        self.update = self.pulse.update

    @property
    def manifest_key(self) -> str:
        """Where this attempt commits, and everybody else who makes the same."""
        return artifacts.manifest_key(self.owner.namespace, self.content_key)

    def log_keys(self, shard: int = 0) -> Callable[[int], str]:
        """Where the pieces of what this process prints belong, by number."""
        return partial(artifacts.log_key, self.owner.uid, self.stage, self.number, shard)

    # ---- claim ----------------------------------------------------------------------------------------------------
    def claim(self) -> None:
        """Claims this attempt for this process. Raises HeadLost if an earlier incarnation already has (law 10).

        A cluster that a queue suspended and let go again is a new one: the attempt goes on there, and what the pods
        said when they were stopped is void.
        """
        key = artifacts.claim_key(self.owner.uid, self.stage, self.number, os.environ.get(RAY_CLUSTER_ENV, ""))
        incarnation = f"{platform.node()}/{os.getpid()}/{os.urandom(6).hex()}"
        mine = Claim(pod=os.environ.get("POD_NAME", platform.node()), incarnation=incarnation, at=now())
        if self.store.put_json_new(key, mine):
            self.store.delete(artifacts.failure_key(self.owner.uid, self.stage, self.number))
            return
        holder = read_model(self.store, key, Claim)
        who = f"pod {holder.pod} at {holder.at}" if holder else "a pod whose claim is gone"
        raise HeadLost(
            f"attempt {self.number} was already started by {who}: "
            "its Ray head was lost; the next attempt resumes from the last committed checkpoint"
        )

    def standing(self) -> str | None:
        """The digest of the result that stands, whoever made it."""
        data = self.store.get_bytes(self.manifest_key)
        return None if data is None else digest_of(data)

    def committed(self) -> str | None:
        """The same; progress then names it, for the operator to take."""
        digest = self.standing()
        if digest is not None:
            self.update(manifest=digest)
        return digest

    def commit(self, manifest: Manifest) -> str:
        """Commits and returns the digest that stands, be it this one or another's; progress then names it."""
        done = self.store.commit(manifest, self.manifest_key)
        if not done.won and done.digest != manifest.digest:
            log.warning("another attempt committed first", standing=done.digest, ours=manifest.digest)
        self.update(manifest=done.digest)
        return done.digest

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
    node = None
    if isinstance(error, FlywheelError):
        node = error.node
        cause, reason, code, message = error.cause, error.reason, error.exit_code, str(error)
    else:
        cause, reason, code = Cause.APP, type(error).__name__, int(ExitCode.APP)
        frame = traceback.extract_tb(error.__traceback__)[-1:] if error.__traceback__ else []
        where = f" ({os.path.basename(frame[0].filename)}:{frame[0].lineno})" if frame else ""
        message = f"{type(error).__name__}: {error}{where}"
    return Failure(cause=cause, reason=reason, message=truncate(redact(message)), node=node, at=now()), int(code)


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
        print(traced(error), file=sys.stderr)
    if attempt is None:
        write_termination_log(failure)
        return code
    return attempt.fail(error)
