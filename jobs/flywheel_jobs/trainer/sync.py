"""The thread beside training that stores trajectories and checkpoints while verl computes the next step."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from flywheel_api.artifacts import FileEntry
from flywheel_api.causes import Cause
from flywheel_api.conditions import Reason
from flywheel_api.ends import End
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import CurvePoint
from flywheel_jobs.core.errors import CorruptArtifact, StoreProblem
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.harness.attempt import Attempt
from flywheel_jobs.trainer import rollouts, signals
from flywheel_jobs.trainer.checkpoints import Checkpoint, Checkpoints, History, MakeManifest
from flywheel_jobs.trainer.failures import TrainingFailed
from flywheel_jobs.trainer.metrics import joined
from flywheel_jobs.trainer.nodes import Nodes

PATIENCE = 600.0
RETRY_SECONDS = 10.0
P = ParamSpec("P")
T = TypeVar("T")
log = get_logger(__name__)


class Diverged(TrainingFailed):
    """Losses, gradients or rewards are no numbers any more."""

    default_reason = End.DIVERGED


class Sync:
    """Events in the order of verl's output: a checkpoint of a step is announced before the step's own numbers.

    A checkpoint's bytes go up at once; it is committed when the step's numbers are in, so that its curve is whole.
    While training goes on, a store in trouble is asked again for as long as it takes: the checkpoint lies on this
    disk. After training's end it has `PATIENCE` seconds more. So long are waited for, in training too, keys that are
    refused, which only a new pod has anew, and whatever a person would have to mend (a redirect, no such bucket) at a
    store that has not taken anything yet: one that has may be under maintenance. Any other error stops the thread and
    is in `error`; the driver then ends the run.
    """

    def __init__(
        self,
        attempt: Attempt,
        checkpoints: Checkpoints,
        history: History,
        nodes: Nodes,
        rollouts_root: Path,
        make: MakeManifest,
        on_point: Callable[[CurvePoint], None],
    ) -> None:
        self.error: BaseException | None = None
        self._attempt = attempt
        self._checkpoints = checkpoints
        self._history = history
        self._nodes = nodes
        self._rollouts_root = rollouts_root
        self._make = make
        self._on_point = on_point
        self._events: queue.Queue[signals.Saved | CurvePoint | None] = queue.Queue()
        self._uploaded: dict[int, list[FileEntry]] = {}
        self._taken = False  # the store has taken a checkpoint of this run
        self._ending = threading.Event()
        self._wrong: int | None = None  # the step before, if its numbers were not finite
        self._thread = threading.Thread(target=self._run, name="checkpoint-sync", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def saved(self, checkpoint: signals.Saved) -> None:
        """verl has written the checkpoint of a step."""
        self._events.put(checkpoint)

    def stepped(self, point: CurvePoint) -> None:
        """verl has reported a step."""
        self._events.put(point)

    def finish(self, timeout: float | None = None) -> bool:
        """Finishes all events and commits what is uploaded; False if that took longer than `timeout` seconds."""
        self._ending.set()
        self._events.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (event := self._events.get()) is not None:
                if isinstance(event, signals.Saved):
                    self._uploaded[event.step] = self._steadily(self._upload, event.step)
                    self._taken = True
                else:
                    self._take(event)
            for step in sorted(self._uploaded):
                self._commit(step)
        except BaseException as error:
            self.error = error
            log.error("checkpoint sync stopped", error=str(error))

    def _take(self, point: CurvePoint) -> None:
        step = point.step
        found = rollouts.gather(self._nodes, self._rollouts_root, step)
        if found.trajectories:
            store = self._attempt.store
            self._history.rollouts[step] = self._steadily(rollouts.store_step, store, step, found.trajectories)
        if found.trajectories or found.unreadable:
            point = joined(point, rollouts.summary(step, found))
        point = self._history.curve.add(point)
        self._on_point(point)
        self._judge(point, found.trajectories)
        if step in self._uploaded:
            self._commit(step)

    def _judge(self, point: CurvePoint, trajectories: Sequence[Trajectory]) -> None:
        """Ends a training that has diverged: one step without finite numbers may pass, two in a row do not."""
        wrong = wrong_with(point, trajectories)
        if wrong is None:
            self._wrong = None
            return
        log.warning("a step went wrong", step=point.step, what=wrong)
        if self._uploaded.pop(point.step, None) is not None:  # nobody shall resume from these weights
            folder = signals.checkpoint_folder(self._checkpoints.root, point.step)
            self._nodes.tell(signals.mark_committed, folder)
        if self._wrong is not None:
            raise self.diverged(f"in steps {self._wrong} and {point.step} {wrong}")
        self._wrong = point.step

    def diverged(self, what: str) -> Diverged:
        """The error that names the checkpoint which is still good."""
        last = self._checkpoints.last()
        good = f"step {last.state.step} ({last.manifest.digest[:19]}…)" if last else "none is committed yet"
        return Diverged(
            f"training has diverged: {what}; last good checkpoint: {good}; lower algorithm.learningRate, or look at "
            "the reward and the data of these steps"
        )

    def _commit(self, step: int) -> None:
        state = self._uploaded.pop(step)
        digest = self._steadily(self._committed, step, state).manifest.digest
        log.info("checkpoint committed", step=step, digest=digest, bytes=sum(f.size for f in state))
        self._attempt.update(checkpoint_step=step, checkpoint_digest=digest)
        self._checkpoints.apply_retention()
        self._nodes.tell(signals.drop_committed, self._checkpoints.root, step)

    def _upload(self, step: int) -> list[FileEntry]:
        with signals.committing(self._checkpoints.root):
            return self._checkpoints.upload(step, self._attempt.owner.uid)

    def _committed(self, step: int, state: list[FileEntry]) -> Checkpoint:
        try:
            return self._checkpoints.commit(step, state, self._history, self._make)
        except CorruptArtifact as error:
            log.warning("a blob went away before the commit, uploading again", step=step, error=str(error))
            return self._checkpoints.commit(step, self._upload(step), self._history, self._make)

    def _steadily(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        since: float | None = None
        while True:
            try:
                return work(*args, **kwargs)
            except StoreProblem as problem:
                bounded = self._ending.is_set() or not self._may_pass(problem)
                since = (since or time.monotonic()) if bounded else None
                if since and time.monotonic() - since > PATIENCE:
                    raise
                log.warning("the store does not take a checkpoint, which stays on this disk", error=str(problem))
                self._ending.wait(RETRY_SECONDS) if not bounded else time.sleep(RETRY_SECONDS)

    def _may_pass(self, problem: StoreProblem) -> bool:
        """Whether waiting alone may mend it."""
        return problem.reason is not Reason.STORE_DENIED and (problem.cause is Cause.INFRA or self._taken)


def wrong_with(point: CurvePoint, trajectories: Sequence[Trajectory]) -> str | None:
    """Why nothing was learnt in a step although nothing was away; None where something was."""
    if point.non_finite:
        return f"{', '.join(point.non_finite)} was not finite"
    if trajectories and point.unscored == len(trajectories):
        return f"no trajectory could be scored: {trajectories[0].unscored}"
    return None
