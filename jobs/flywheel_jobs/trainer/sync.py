"""The thread beside training that stores trajectories and checkpoints while verl computes the next step."""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from flywheel_api.artifacts import FileEntry
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import CurvePoint
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.harness.attempt import Attempt
from flywheel_jobs.trainer import rollouts, signals
from flywheel_jobs.trainer.checkpoints import Checkpoints, History, MakeManifest
from flywheel_jobs.trainer.failures import TrainingFailed
from flywheel_jobs.trainer.metrics import joined
from flywheel_jobs.trainer.nodes import Nodes

log = get_logger(__name__)


class Diverged(TrainingFailed):
    """Losses, gradients or rewards are no numbers any more."""

    default_reason = "Diverged"


class Sync:
    """Events in the order of verl's output: a checkpoint of a step is announced before the step's own numbers.

    A checkpoint's bytes go up at once; it is committed when the step's numbers are in, so that its curve is whole.
    The first error stops the thread and is in `error`; the driver then ends the run.
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
        self._events.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (event := self._events.get()) is not None:
                if isinstance(event, signals.Saved):
                    self._uploaded[event.step] = self._checkpoints.upload(event.step)
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
            self._history.rollouts[step] = rollouts.store_step(self._attempt.store, step, found.trajectories)
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
            signals.mark_committed(signals.checkpoint_folder(self._checkpoints.root, point.step))
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
        digest = self._checkpoints.commit(step, state, self._history, self._make).manifest.digest
        log.info("checkpoint committed", step=step, digest=digest, bytes=sum(f.size for f in state))
        self._attempt.update(checkpoint_step=step, checkpoint_digest=digest)
        self._checkpoints.apply_retention()
        for other, path in signals.local_steps(self._checkpoints.root).items():
            if other < step and (path / ".committed").exists():
                shutil.rmtree(path, ignore_errors=True)


def wrong_with(point: CurvePoint, trajectories: Sequence[Trajectory]) -> str | None:
    """Why nothing was learnt in a step although nothing was away; None where something was."""
    if point.non_finite:
        return f"{', '.join(point.non_finite)} was not finite"
    if trajectories and point.unscored == len(trajectories):
        return f"no trajectory could be scored: {trajectories[0].unscored}"
    return None
