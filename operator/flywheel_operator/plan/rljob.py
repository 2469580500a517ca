"""RLJob: one RayJob per attempt until a checkpoint is committed, retries are used up, or the time is over."""

from __future__ import annotations

from datetime import datetime, timedelta

from flywheel_api.artifacts import Progress, log_prefix
from flywheel_api.base import format_time, parse_duration, parse_time
from flywheel_api.causes import Cause
from flywheel_api.common import AttemptStatus, ChildRef, ModelStatus, ReusedFrom
from flywheel_api.conditions import ConditionType, Reason, find_condition
from flywheel_api.ends import End
from flywheel_api.names import child_name
from flywheel_api.results import TrainingResult
from flywheel_api.rljob import OnCollapse, RLJobSpec
from flywheel_api.rljob_status import DisruptionStatus, RLJobStatus
from flywheel_api.stages import TRAIN_STAGE
from flywheel_operator.model import (
    Act,
    Action,
    Child,
    Ended,
    Meta,
    Note,
    Plan,
    RLJobSeen,
    Run,
    Timings,
    delete,
)
from flywheel_operator.plan import attempt, budget, texts
from flywheel_operator.plan.conditions import REFUSED_AGAIN, Conditions
from flywheel_operator.plan.figures import Changes, committed_step, figures
from flywheel_operator.plan.retry import Tries, back_off, bad_nodes, judge, remember

RAYJOB = "RayJob"
FIRST_VISIT = {
    ConditionType.PREFLIGHT: "not checked yet",
    ConditionType.NODES_FIT: "not checked yet",
    ConditionType.STORAGE_READY: "not checked yet",
    ConditionType.TRAINING_HEALTHY: "not trained yet",
}


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
        self.status, self.left = status, budget.time_left(spec, status, now)
        self.conditions = Conditions(status.conditions, meta.generation, now)
        self.conditions.first_visit(FIRST_VISIT | ({ConditionType.TRACKED: "not trained yet"} if spec.tracking else {}))
        self.notes: list[Note] = []

    def plan(self) -> Plan[RLJobStatus]:
        """Dispatch by the state that status records."""
        if self.status.finished_at is not None:
            return self._settled()
        if self.seen.record.manifest is not None:
            return self._succeed()
        if self.left < timedelta(0):
            wall = self.spec.wall_clock
            return self._close(Ended(Cause.BUDGET, "WallClock", f"spec.wallClock {wall} is over: raise it"))
        return self._attempt() if is_open(self.status) else self._between()

    # ---- between attempts -----------------------------------------------------------------------------------------
    def _between(self) -> Plan[RLJobStatus]:
        problem = self.seen.problem or self.seen.store_problem
        self.conditions.nodes(self.seen.nodes)
        if problem is not None:
            self.conditions.missing(problem, self.seen.store_problem)
            self.conditions.blocked(problem.reason, problem.message)
            return self._answer({"phase": "Pending", "progress": problem.message}, requeue=self.times.preflight)
        self.conditions.passed(self.seen.store_note)
        if self.seen.stuck:
            self.conditions.blocked(Reason.PODS_STUCK, self.seen.stuck)
            changes: Changes = {"phase": "Pending", "progress": self.seen.stuck}
            return self._answer(changes, self._deletions(), self.times.preflight)
        if self._children() or self.seen.pods:
            return self._wait("waiting for the pods of the last attempt to go", self.times.poll, self._deletions())
        if self.seen.twin is not None:
            text = f"RLJob {self.seen.twin} trains the same now: its checkpoint will be taken over"
            return self._wait(text, self.times.preflight)
        wait = self._back_off_left()
        if wait > timedelta(0):
            last = self.status.attempts[-1]
            # the moment, not the seconds left: the text must not change while nothing happens
            at = format_time(self.now + wait)
            text = f"attempt {last.attempt} ended by {last.cause.value}; the next starts at {at}"
            return self._wait(text, wait.total_seconds(), child=None)
        return self._start()

    def _wait(
        self, text: str, requeue: float, actions: tuple[Action, ...] = (), **changes: object
    ) -> Plan[RLJobStatus]:
        self.conditions.working(Reason.WAITING, text)
        return self._answer({"phase": "Pending", "progress": text, **changes}, actions, requeue)

    def _start(self) -> Plan[RLJobStatus]:
        number = self.status.attempt + 1
        text = f"attempt {number} is starting"
        self.conditions.working(Reason.STARTING, text)
        self.notes.append(Note("AttemptStarted", f"attempt {number} starts as RayJob {self._name(number)}"))
        maker = self.seen.reusable if number == 1 else self.status.reused_from
        if maker is not None and number == 1:
            said = f"goes on from step {maker.step} of {maker.kind} {maker.name}, which trained the same"
            self.notes.append(Note("CheckpointReused", said))
        if avoided := bad_nodes(self.status.attempts):
            self.notes.append(Note("NodesAvoided", f"attempt {number} keeps away from {', '.join(avoided)}"))
        changes: Changes = {
            "phase": "Starting",
            "attempt": number,
            "attempt_started_at": format_time(self.now),
            "starting_since": format_time(self.now),
            "from_step": committed_step(self.status.model_copy(update={"reused_from": maker}), None),
            "started_at": self.status.started_at or format_time(self.now),
            "content_key": self.seen.content.key if self.seen.content else None,
            "reused_from": maker,
            "disruption": None,
            "child": None,
            "progress": text,
        }
        return self._answer(self._stopped() | changes, (self._create(number),), self.times.poll)

    def _back_off_left(self) -> timedelta:
        last = self.status.attempts[-1] if self.status.attempts else None
        if last is None or last.finished_at is None:
            return timedelta(0)
        wait = back_off(self.meta.uid, TRAIN_STAGE, last.attempt, Ended(last.cause, ""), self._tries(), self.times)
        return parse_time(last.finished_at) + wait - self.now

    def _tries(self) -> Tries:
        return Tries(self.status.failures, self.status.fruitless)

    # ---- an attempt -----------------------------------------------------------------------------------------------
    def _attempt(self) -> Plan[RLJobStatus]:
        if self.seen.store_problem is not None:
            self.conditions.not_stored(self.seen.store_problem)
            return self._answer({}, requeue=self.times.preflight)  # nothing is judged while the store is away
        self.conditions.stored(self.seen.store_note)
        status = self.status
        current = attempt.Attempt(
            started=_time(status.starting_since) or self.now,
            child=status.child,
            running_since=_time(status.running_since),
            awaited_since=_time(status.awaited_since),
            refusal=self.conditions.refusal(self.seen.refused),
            queued=status.queued_since is not None,  # also where this look was told of no refusal: it is tried again
            seen=Ended(**dict(status.disruption)) if status.disruption else None,
        )
        startup = parse_duration(self.spec.startup_timeout)
        limits = attempt.Limits(
            creation=startup,
            startup=startup,
            stall=parse_duration(self.spec.stall_after),
            manifest_grace=timedelta(seconds=self.times.manifest_grace),
        )
        match attempt.stand(current, self.seen.run, self.seen.record, limits, self.now):
            case attempt.Over(ended):
                return self._close(ended)
            case attempt.Queued(run):
                return self._queued(run)
            case attempt.Starting(run):
                return self._starting(run)
            case attempt.Running(run):
                return self._running(run)
            case attempt.Awaiting(run, since):
                changes = {"child": self._ref(run), "awaited_since": format_time(since)}
                return self._answer(changes, requeue=self.times.poll)
            case attempt.Missing(queued):
                return self._missing(queued)
            case attempt.Committed():
                return self._succeed()

    def _missing(self, queued: bool) -> Plan[RLJobStatus]:
        """The RayJob is not there: made (again), whether nothing was tried yet, or a quota kept it out until now."""
        changes = self._starts()
        if queued:
            text = self.seen.refused.message if self.seen.refused else self.status.progress or ""
            self.conditions.working(Reason.QUEUED, text)
            changes = self._held_back() | {"progress": text[:1024]}
        return self._answer(changes, (self._create(self.status.attempt),), self.times.poll)

    def _queued(self, run: Run) -> Plan[RLJobStatus]:
        """Somebody else decides when it runs. Its clocks begin anew afterwards."""
        return self._waits(run, self._stopped() | self._held_back() | {"eta": None})

    def _starting(self, run: Run) -> Plan[RLJobStatus]:
        changes = self._starts()
        if attempt.begins(run, parse_time(str(changes["starting_since"])), self.now, self.times.poll):
            return self._answer(changes | {"child": self._ref(run)}, requeue=self.times.poll)
        return self._waits(run, changes)

    def _waits(self, run: Run, changes: Changes) -> Plan[RLJobStatus]:
        text = run.text or f"RayJob {run.child.name} is starting"
        if run.refused:
            self.conditions.blocked(Reason.POD_REFUSED, text)
        else:
            self.conditions.working(run.reason, text)
        return self._answer(changes | {"child": self._ref(run), "progress": text[:1024]}, requeue=self._pause())

    def _pause(self) -> float:
        """Until the trainer may have written what no watch tells of."""
        began = _time(self.status.starting_since or self.status.attempt_started_at)
        return attempt.pause(self.seen.record.advanced_at or began or self.now, self.now, self.times.poll)

    def _running(self, run: Run) -> Plan[RLJobStatus]:
        changes: Changes = {
            "phase": "Running",
            "child": self._ref(run),
            "awaited_since": None,
            "queued_since": None,
            "starting_since": self.status.starting_since or format_time(self.now),
            "running_since": self.status.running_since or format_time(self.now),
        }
        fact = run.evidence
        if fact is not None and fact.reason != End.GPU_FAULT and self.status.disruption is None:
            self.notes.append(Note("Disrupted", f"{fact.reason}: {fact.message}", "Warning"))
            changes["disruption"] = DisruptionStatus(cause=fact.cause, reason=fact.reason, message=fact.message[:512])
        changes |= figures(self.status, self.seen.record.progress)
        if self.seen.record.progress is not None and self.seen.record.progress.step is not None:
            self._health(self.seen.record.progress.unhealthy)
        self._tracked(self.seen.record.progress)
        said = changes.get("progress") or self.status.progress or "running"
        self.conditions.working(Reason.RUNNING, f"RayJob {run.child.name}: {said}")
        return self._answer(changes, requeue=self._pause())

    def _health(self, seen: str | None) -> None:
        """What the trainer's guard makes of the curve."""
        if seen is None:
            self.conditions.set(ConditionType.TRAINING_HEALTHY, True, Reason.RUNNING, "")
            return
        stops = self.spec.on_collapse is OnCollapse.STOP
        does = "it is stopped, and its best checkpoint is published" if stops else "spec.onCollapse says Warn"
        text = f"{seen}: {does}; lower algorithm.learningRate, or give data that is solved sometimes"
        known = find_condition(self.status.conditions, ConditionType.TRAINING_HEALTHY)
        if known is None or known.status != "False":
            self.notes.append(Note("CollapseSuspected", text, "Warning"))
        self.conditions.set(ConditionType.TRAINING_HEALTHY, False, Reason.COLLAPSE_SUSPECTED, text)

    def _tracked(self, progress: Progress | None) -> None:
        """What the tracker says, once it was asked."""
        if progress is None or (progress.tracked or progress.untracked) is None:
            return
        wrong = progress.untracked
        reason = Reason.NOT_TRACKED if wrong else Reason.AVAILABLE
        self.conditions.set(ConditionType.TRACKED, wrong is None, reason, wrong or progress.tracked or "")

    # ---- ends -----------------------------------------------------------------------------------------------------
    def _succeed(self) -> Plan[RLJobStatus]:
        manifest, digest = self.seen.record.manifest, self.seen.record.digest
        assert manifest is not None and digest is not None
        reward = manifest.metrics.get("reward")
        result = manifest.result if isinstance(manifest.result, TrainingResult) else None
        made = result.made if result is not None else manifest.step
        text = f"checkpoint {digest[:19]}… committed at step {manifest.step}"
        if made != manifest.step:
            by_score = self.spec.publishes_best(stopped=result is not None and result.stopped)
            text += f", the {'best' if by_score else 'last committed'} of {made}"
        maker = self.status.reused_from
        if manifest.owner.uid != self.meta.uid:
            maker = ReusedFrom(kind=manifest.owner.kind, name=manifest.owner.name, attempt=manifest.attempt)
            text += f" by {maker.kind} {maker.name}, which trained the same"
        self.conditions.passed(self.seen.store_note)
        if result is not None:
            self._health(result.unhealthy)
        self.conditions.done(Reason.SUCCEEDED, text)
        self.notes.append(Note("Succeeded", text))
        ended = Ended(Cause.SUCCEEDED, "Committed", text)
        changes: Changes = {
            "phase": "Succeeded",
            "model": ModelStatus(uri=self.seen.model_uri, digest=digest, step=manifest.step),
            "manifest": digest,
            "content_key": manifest.content_key,
            "reused_from": maker,
            "step": made or self.status.step,
            "reward": texts.number(reward) if reward is not None else self.status.reward,
            "eta": None,
            "attempts": self._remember(ended) if is_open(self.status) else self.status.attempts,
            "started_at": self.status.started_at or format_time(self.now),
            "finished_at": format_time(self.now),
            "progress": text,
        }
        return self._answer(self._stopped() | changes, self._deletions(), self.times.poll)

    def _close(self, ended: Ended) -> Plan[RLJobStatus]:
        progressed = committed_step(self.status, self.seen.record.progress) > self.status.from_step
        verdict = judge(ended, self._tries(), progressed, self.spec.retries.limit)
        changes = self._stopped() | {
            "failures": verdict.tries.failures,
            "fruitless": verdict.tries.fruitless,
            "eta": None,
        }
        if is_open(self.status):
            changes["attempts"] = self._remember(ended)
        said = f"{ended.cause.value}/{ended.reason}: {ended.message}"
        if verdict.again:
            text = f"attempt {self.status.attempt} ended by {said}"
            self.conditions.working(Reason.WAITING, text)
            self.notes.append(Note("AttemptEnded", text, "Warning"))
            return self._answer(changes | {"phase": "Pending", "progress": text}, self._deletions(), self.times.poll)
        text = f"{said} ({verdict.why})"
        self.conditions.failed(verdict.reason, text)
        self.notes.append(Note("Failed", text, "Warning"))
        changes |= {"phase": "Failed", "finished_at": format_time(self.now), "progress": text[:1024]}
        return self._answer(changes, self._deletions(), self.times.poll)

    def _settled(self) -> Plan[RLJobStatus]:
        """Terminal: nothing but clearing away. `child` empty tells the round that the hardware is free."""
        if self._children() or self.seen.pods:
            return self._answer({}, self._deletions(), self.times.poll)
        return self._answer({"child": None})

    # ---- small parts ----------------------------------------------------------------------------------------------
    def _stopped(self) -> Changes:
        """Nothing runs: the clocks of an attempt stop."""
        return dict.fromkeys(("running_since", "awaited_since", "queued_since"))

    def _starts(self) -> Changes:
        """Its pods may start."""
        since = self.status.starting_since or format_time(self.now)
        return {"phase": "Starting", "starting_since": since, "queued_since": None}

    def _held_back(self) -> Changes:
        """Its start-up clock does not run."""
        since = self.status.queued_since or format_time(self.now)
        return {"phase": "Queued", "starting_since": None, "queued_since": since}

    def _name(self, number: int) -> str:
        return child_name(self.meta.name, self.meta.uid, TRAIN_STAGE, number)

    def _create(self, number: int) -> Action:
        params = {"activeDeadlineSeconds": str(max(60, int(self.left.total_seconds())))}
        return Action(Act.CREATE, RAYJOB, self._name(number), TRAIN_STAGE, number, params=params)

    def _ref(self, run: Run) -> ChildRef:
        return ChildRef(kind=RAYJOB, name=run.child.name)

    def _remember(self, ended: Ended) -> list[AttemptStatus]:
        progress = self.seen.record.progress
        resumed = progress.resumed_from_step if progress else None
        started = self.status.attempt_started_at
        number = self.status.attempt
        log = log_prefix(self.meta.uid, TRAIN_STAGE, number)
        return remember(list(self.status.attempts), None, number, ended, started, resumed, self.now, log)

    def _children(self) -> list[Child]:
        return [*([self.seen.run.child] if self.seen.run else []), *self.seen.others]

    def _deletions(self) -> tuple[Action, ...]:
        return tuple(delete(child) for child in self._children() if not child.deleting)

    def _answer(
        self, changes: Changes, actions: tuple[Action, ...] = (), requeue: float | None = None
    ) -> Plan[RLJobStatus]:
        named = {action.name for action in actions}
        # a RayJob of an earlier attempt that came back must not run beside the current one
        actions += tuple(delete(c) for c in self.seen.others if not c.deleting and c.name not in named)
        over = changes.get("finished_at") or self.status.finished_at
        refused = not over and self.conditions.refused(self.seen.refused, waiting=bool(actions))
        fixed = {"observed_generation": self.meta.generation, "conditions": self.conditions.result()} | budget.held(
            self.status, self.seen.gpus, self.now
        )
        status = self.status.model_copy(update=fixed | changes)
        again = REFUSED_AGAIN if refused else requeue
        return Plan(status, actions, tuple(self.notes), again, more=self._ended(status))

    def _ended(self, status: RLJobStatus) -> bool:
        """Whether an attempt or the job has: something may follow at once. A begin, and words, let nothing follow."""
        return is_open(self.status) > is_open(status) or status.finished_at != self.status.finished_at


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None
