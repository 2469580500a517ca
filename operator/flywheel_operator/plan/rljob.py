"""RLJob: one RayJob per attempt until a checkpoint is committed, retries are used up, or the time is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flywheel_api.artifacts import Progress
from flywheel_api.base import format_time, parse_duration, parse_time
from flywheel_api.causes import Cause
from flywheel_api.common import ChildRef, ModelStatus
from flywheel_api.conditions import ConditionType, Reason
from flywheel_api.names import child_name
from flywheel_api.rljob import CheckpointStatus, RLJobSpec, RLJobStatus
from flywheel_api.stages import TRAIN_STAGE
from flywheel_operator.plan import texts
from flywheel_operator.plan.conditions import STORE_REASONS, Board
from flywheel_operator.plan.retry import back_off, judge, remember
from flywheel_operator.plan.types import (
    Act,
    Action,
    Child,
    Ended,
    Meta,
    Note,
    Plan,
    Problem,
    Record,
    Run,
    RunState,
    Timings,
    delete,
)

RAYJOB = "RayJob"
Changes = dict[str, object]
FIRST_VISIT = {ConditionType.PREFLIGHT: "not checked yet", ConditionType.STORAGE_READY: "not checked yet"}
_NO_END = 365 * 24 * 3600  # activeDeadlineSeconds when the job has no wall clock of its own


@dataclass(frozen=True)
class RLJobSeen:
    """What was observed. `run` is the RayJob of the current attempt; `others` are RayJobs of ours beside it."""

    problem: Problem | None = None
    store_problem: Problem | None = None
    run: Run | None = None
    others: tuple[Child, ...] = ()
    pods: int = 0
    record: Record = field(default_factory=Record)
    model_uri: str = ""
    model: str | None = None


def plan_rljob(
    meta: Meta, spec: RLJobSpec, status: RLJobStatus, seen: RLJobSeen, now: datetime, times: Timings
) -> Plan[RLJobStatus]:
    """The next status and the effects that follow from it."""
    return _Planner(meta, spec, status, seen, now, times).plan()


def is_open(status: RLJobStatus) -> bool:
    """Whether the current attempt has not ended yet."""
    return status.attempt > 0 and all(a.attempt != status.attempt for a in status.attempts)


class _Planner:
    """One decision. Methods return the Plan; nothing here outlives it."""

    def __init__(
        self, meta: Meta, spec: RLJobSpec, status: RLJobStatus, seen: RLJobSeen, now: datetime, times: Timings
    ) -> None:
        self.meta, self.spec, self.seen, self.now, self.times = meta, spec, seen, now, times
        self.status = status
        self.board = Board(status.conditions, meta.generation, now)
        self.board.first_visit(FIRST_VISIT)
        self.notes: list[Note] = []

    def plan(self) -> Plan[RLJobStatus]:
        """Dispatch by the state that status records."""
        if self.status.finished_at is not None:
            return self._settled()
        if is_open(self.status) and self.seen.record.manifest is not None:
            return self._succeed()
        if self._time_is_over():
            wall = self.spec.wall_clock
            ended = Ended(Cause.BUDGET, "WallClock", f"spec.wallClock {wall} is over: raise it in a new RLJob")
            return self._close(ended)
        if is_open(self.status):
            return self._attempt()
        return self._between()

    # ---- between attempts -----------------------------------------------------------------------------------------
    def _between(self) -> Plan[RLJobStatus]:
        problem = self.seen.problem or self.seen.store_problem
        if problem is not None:
            self._note_problem(problem)
            self.board.blocked(problem.reason, problem.message)
            return self._answer({"phase": "Pending", "progress": problem.message}, requeue=self.times.preflight)
        self.board.set(ConditionType.PREFLIGHT, True, Reason.PASSED, "")
        self.board.set(ConditionType.STORAGE_READY, True, Reason.AVAILABLE, "")
        if self._children() or self.seen.pods:
            text = "waiting for the pods of the last attempt to go"
            self.board.working(Reason.WAITING, text)
            return self._answer({"phase": "Pending", "progress": text}, self._deletions(), self.times.poll)
        wait = self._back_off_left()
        if wait > timedelta(0):
            last = self.status.attempts[-1]
            # the moment, not the seconds left: the text must not change while nothing happens
            at = format_time(self.now + wait)
            text = f"attempt {last.attempt} ended by {last.cause.value}; the next starts at {at}"
            self.board.working(Reason.WAITING, text)
            changes: Changes = {"phase": "Pending", "progress": text, "child": None}
            return self._answer(changes, requeue=wait.total_seconds())
        return self._start()

    def _start(self) -> Plan[RLJobStatus]:
        attempt = self.status.attempt + 1
        text = f"attempt {attempt} is starting"
        self.board.working(Reason.STARTING, text)
        self.notes.append(Note("AttemptStarted", f"attempt {attempt} starts as RayJob {self._name(attempt)}"))
        changes: Changes = {
            "phase": "Starting",
            "attempt": attempt,
            "attempt_started_at": format_time(self.now),
            "started_at": self.status.started_at or format_time(self.now),
            "running_since": None,
            "child": None,
            "progress": text,
        }
        return self._answer(changes, (self._create(attempt),), self.times.poll)

    def _back_off_left(self) -> timedelta:
        if not self.status.attempts or self.status.attempts[-1].finished_at is None:
            return timedelta(0)
        last = self.status.attempts[-1]
        ended = Ended(last.cause, last.reason)
        due = parse_time(last.finished_at or "") + back_off(self.meta.uid, TRAIN_STAGE, last.attempt, ended, self.times)
        return due - self.now

    # ---- an attempt -----------------------------------------------------------------------------------------------
    def _attempt(self) -> Plan[RLJobStatus]:
        record, run = self.seen.record, self.seen.run
        if self.seen.store_problem is not None:
            problem = self.seen.store_problem
            self.board.set(ConditionType.STORAGE_READY, False, problem.reason, problem.message)
            return self._answer({}, requeue=self.times.preflight)  # nothing is judged while the store is away
        self.board.set(ConditionType.STORAGE_READY, True, Reason.AVAILABLE, "")
        if record.failure is not None:
            failure = record.failure
            return self._close(Ended(failure.cause, failure.reason, failure.message))
        if record.problem is not None:
            return self._close(Ended(Cause.APP, Reason.MANIFEST_INVALID, record.problem))
        if run is None:
            return self._missing()
        if run.ended is not None:
            return self._close(run.ended)
        if run.state is RunState.SUCCEEDED:
            return self._without_manifest(run)
        if run.state is RunState.STARTING:
            return self._starting(run)
        return self._running(run)

    def _missing(self) -> Plan[RLJobStatus]:
        if self.status.child is not None:
            gone = f"RayJob {self.status.child.name} was deleted by somebody else"
            return self._close(Ended(Cause.INFRA, "ChildLost", gone))
        return self._answer({}, (self._create(self.status.attempt),), self.times.poll)

    def _without_manifest(self, run: Run) -> Plan[RLJobStatus]:
        since = run.finished or self._attempt_started()
        if self.now - since < timedelta(seconds=self.times.manifest_grace):
            return self._answer({"child": self._ref(run)}, requeue=self.times.poll)
        text = "the RayJob ended with SUCCEEDED but committed no checkpoint to the store"
        return self._close(Ended(Cause.APP, "ManifestMissing", text))

    def _starting(self, run: Run) -> Plan[RLJobStatus]:
        limit = parse_duration(self.spec.startup_timeout)
        if self.now - self._attempt_started() > limit:
            text = f"not running {self.spec.startup_timeout} after its start: {run.waiting or 'no reason was given'}"
            return self._close(Ended(Cause.CAPACITY, "StartupTimeout", text))
        text = run.waiting or f"RayJob {run.child.name} is starting"
        if run.refused:
            self.board.blocked(Reason.POD_REFUSED, text)
        else:
            self.board.working(Reason.STARTING, text)
        return self._answer({"phase": "Starting", "child": self._ref(run), "progress": text}, requeue=self.times.poll)

    def _running(self, run: Run) -> Plan[RLJobStatus]:
        progress = self.seen.record.progress
        since = parse_time(self.status.running_since) if self.status.running_since else self.now
        last = max(since, parse_time(progress.updated_at)) if progress else since
        limit = parse_duration(self.spec.stall_after)
        if self.now - last > limit:
            text = f"no progress since {format_time(last)}, longer than spec.stallAfter {self.spec.stall_after}"
            return self._close(Ended(Cause.STALLED, "NoProgress", text))
        changes: Changes = {
            "phase": "Running",
            "child": self._ref(run),
            "running_since": self.status.running_since or format_time(self.now),
        }
        changes |= self._figures(progress)
        said = changes.get("progress") or self.status.progress or "running"
        self.board.working(Reason.RUNNING, f"RayJob {run.child.name}: {said}")
        return self._answer(changes, requeue=self.times.poll)

    def _figures(self, progress: Progress | None) -> Changes:
        """Step, reward and so on; taken over only when the step moved, so that estimates do not flap."""
        if progress is None:
            return {"progress": "the trainer is starting"}
        changes: Changes = {}
        if progress.checkpoint_step is not None and progress.checkpoint_digest is not None:
            changes["checkpoint"] = CheckpointStatus(step=progress.checkpoint_step, digest=progress.checkpoint_digest)
        if progress.step is None:
            return changes | {"progress": progress.text or "the trainer is starting"}
        if progress.step == self.status.step and (self.status.progress or "").startswith("step "):
            return changes
        return changes | {
            "step": progress.step,
            "total_steps": progress.total,
            "reward": texts.number(progress.reward) if progress.reward is not None else self.status.reward,
            "tokens_per_second": texts.number(progress.tokens_per_second) if progress.tokens_per_second else None,
            "eta": texts.eta(progress.eta_seconds),
            "progress": texts.training(progress),
        }

    # ---- ends -----------------------------------------------------------------------------------------------------
    def _succeed(self) -> Plan[RLJobStatus]:
        manifest, digest = self.seen.record.manifest, self.seen.record.digest
        assert manifest is not None and digest is not None
        reward = manifest.metrics.get("reward")
        text = f"checkpoint {digest[:19]}… committed at step {manifest.step}"
        self.board.done(Reason.SUCCEEDED, text)
        self.notes.append(Note("Succeeded", text))
        changes: Changes = {
            "phase": "Succeeded",
            "model": ModelStatus(uri=self.seen.model_uri, digest=digest, step=manifest.step),
            "manifest": digest,
            "step": manifest.step if manifest.step is not None else self.status.step,
            "reward": texts.number(reward) if reward is not None else self.status.reward,
            "eta": None,
            "attempts": self._remember(Ended(Cause.SUCCEEDED, "Committed", text)),
            "finished_at": format_time(self.now),
            "gpu_seconds": self._gpu_seconds(),
            "running_since": None,
            "progress": text,
        }
        return self._answer(changes, self._deletions(), self.times.poll)

    def _close(self, ended: Ended) -> Plan[RLJobStatus]:
        verdict = judge(ended, self.status.failures, self.status.attempt, self.spec.retries.limit)
        changes: Changes = {
            "failures": verdict.failures,
            "gpu_seconds": self._gpu_seconds(),
            "running_since": None,
            "eta": None,
        }
        if is_open(self.status):
            changes["attempts"] = self._remember(ended)
        said = f"{ended.cause.value}/{ended.reason}: {ended.message}"
        if verdict.again:
            text = f"attempt {self.status.attempt} ended by {said}"
            self.board.working(Reason.WAITING, text)
            self.notes.append(Note("AttemptEnded", text, "Warning"))
            return self._answer(changes | {"phase": "Pending", "progress": text}, self._deletions(), self.times.poll)
        reason = {Cause.BUDGET: Reason.BUDGET_EXHAUSTED}.get(ended.cause, Reason.FAILED)
        if ended.cause not in (Cause.BUDGET, Cause.VALIDATION):
            reason = Reason.RETRIES_EXHAUSTED
        text = f"{said} ({verdict.why})"
        self.board.failed(reason, text)
        self.notes.append(Note("Failed", text, "Warning"))
        changes |= {"phase": "Failed", "finished_at": format_time(self.now), "progress": text[:1024]}
        return self._answer(changes, self._deletions(), self.times.poll)

    def _settled(self) -> Plan[RLJobStatus]:
        """Terminal: nothing but clearing away. `child` empty tells the round that the hardware is free."""
        if self._children() or self.seen.pods:
            return self._answer({}, self._deletions(), self.times.poll)
        return self._answer({"child": None})

    # ---- small parts ----------------------------------------------------------------------------------------------
    def _time_is_over(self) -> bool:
        if self.spec.wall_clock is None or self.status.started_at is None:
            return False
        return self.now > parse_time(self.status.started_at) + parse_duration(self.spec.wall_clock)

    def _remaining_seconds(self) -> int:
        if self.spec.wall_clock is None:
            return _NO_END
        spent = self.now - parse_time(self.status.started_at) if self.status.started_at else timedelta(0)
        return max(60, int((parse_duration(self.spec.wall_clock) - spent).total_seconds()))

    def _attempt_started(self) -> datetime:
        return parse_time(self.status.attempt_started_at) if self.status.attempt_started_at else self.now

    def _gpu_seconds(self) -> str | None:
        gpus = self.spec.nodes * self.spec.gpus_per_node
        since = self.status.running_since
        if gpus == 0 or since is None:
            return self.status.gpu_seconds
        spent = (self.now - parse_time(since)).total_seconds() * gpus
        return f"{float(self.status.gpu_seconds or 0) + spent:.0f}"

    def _name(self, attempt: int) -> str:
        return child_name(self.meta.name, self.meta.uid, TRAIN_STAGE, attempt)

    def _create(self, attempt: int) -> Action:
        params = {"activeDeadlineSeconds": str(self._remaining_seconds())}
        return Action(Act.CREATE, RAYJOB, self._name(attempt), TRAIN_STAGE, attempt, params=params)

    def _ref(self, run: Run) -> ChildRef:
        return ChildRef(kind=RAYJOB, name=run.child.name)

    def _remember(self, ended: Ended) -> list[object]:
        progress = self.seen.record.progress
        resumed = progress.resumed_from_step if progress else None
        started = self.status.attempt_started_at
        kept = remember(list(self.status.attempts), None, self.status.attempt, ended, started, resumed, self.now)
        return list(kept)

    def _children(self) -> list[Child]:
        return [*([self.seen.run.child] if self.seen.run else []), *self.seen.others]

    def _deletions(self) -> tuple[Action, ...]:
        return tuple(delete(child) for child in self._children() if not child.deleting)

    def _note_problem(self, problem: Problem) -> None:
        kind = ConditionType.STORAGE_READY if problem.reason in STORE_REASONS else ConditionType.PREFLIGHT
        for condition in {kind, ConditionType.PREFLIGHT}:
            self.board.set(condition, False, problem.reason, problem.message)

    def _answer(
        self, changes: Changes, actions: tuple[Action, ...] = (), requeue: float | None = None
    ) -> Plan[RLJobStatus]:
        fixed = {"observed_generation": self.meta.generation, "conditions": self.board.result()}
        status = self.status.model_copy(update=fixed | changes)
        return Plan(status, actions, tuple(self.notes), requeue)
