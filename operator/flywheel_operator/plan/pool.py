"""RolloutPool: one RayService per revision; the stable Service moves to a revision when it answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from flywheel_api.base import format_time, parse_duration, parse_time
from flywheel_api.causes import Cause
from flywheel_api.common import ATTEMPTS_KEPT, AttemptStatus, ChildRef
from flywheel_api.conditions import ConditionType, Reason, find_condition
from flywheel_api.ends import End
from flywheel_api.names import LABEL_POOL, NODE_TYPE, child_name
from flywheel_api.pool import SERVE_PORT, RolloutPoolSpec, RolloutPoolStatus, WeightsStatus
from flywheel_operator.model import (
    Act,
    Action,
    Ended,
    Meta,
    Note,
    Plan,
    PoolSeen,
    Problem,
    Revision,
    Run,
    RunState,
    Timings,
    delete,
)
from flywheel_operator.plan import attempt, budget
from flywheel_operator.plan.conditions import REFUSED_AGAIN, Conditions
from flywheel_operator.plan.preflight import engine
from flywheel_operator.plan.retry import bad_nodes, remember

RAYSERVICE = "RayService"
SERVICE = "Service"
Changes = dict[str, object]
_FORGOTTEN = timedelta(days=7)  # a node is mended by then, or cordoned
FIRST_VISIT = {
    ConditionType.PREFLIGHT: "not checked yet",
    ConditionType.NODES_FIT: "not checked yet",
    ConditionType.STORAGE_READY: "not checked yet",
}


def endpoint_url(name: str, namespace: str, domain: str = "") -> str:
    """Base URL of a pool's OpenAI-compatible API."""
    suffix = f".{domain}" if domain else ""
    return f"http://{name}.{namespace}.svc{suffix}:{SERVE_PORT}/v1"


def revision_name(meta: Meta, revision: str) -> str:
    """Name of the RayService of a revision."""
    return child_name(meta.name, meta.uid, f"serve-{revision}", 1)


def plan_pool(
    meta: Meta, spec: RolloutPoolSpec, status: RolloutPoolStatus, seen: PoolSeen, now: datetime, times: Timings
) -> Plan[RolloutPoolStatus]:
    """The next status and the effects that follow from it."""
    return _Planner(meta, spec, status, seen, now, times).plan()


class _Planner:
    def __init__(
        self,
        meta: Meta,
        spec: RolloutPoolSpec,
        status: RolloutPoolStatus,
        seen: PoolSeen,
        now: datetime,
        times: Timings,
    ) -> None:
        self.meta, self.spec, self.status, self.seen = meta, spec, status, seen
        self.now, self.times = now, times
        self.conditions = Conditions(status.conditions, meta.generation, now)
        self.conditions.first_visit(FIRST_VISIT)
        self.notes: list[Note] = []

    def plan(self) -> Plan[RolloutPoolStatus]:
        """Dispatch by what exists."""
        problem = self.seen.problem or self.seen.store_problem or self._conflict()
        self.conditions.nodes(self.seen.nodes)
        if problem is not None:
            return self._blocked(problem)
        self.conditions.passed(self.seen.store_note)
        wanted = next((r for r in self.seen.revisions if r.revision == self.seen.wanted), None)
        if wanted is None:
            return self._create()
        if wanted.run.child.deleting:  # it is wanted again while it goes: its name is free when it is gone
            text = f"RayService {wanted.run.child.name} is going, it is made anew then"
            return self._transition("Starting", Reason.WAITING, text, {})
        if wanted.run.ended is not None:
            return self._over(wanted, wanted.run.ended)
        if wanted.run.state is RunState.RUNNING:
            return self._serve(wanted)
        if wanted.run.state is RunState.QUEUED:
            return self._queued(wanted)
        return self._starting(wanted)

    def _conflict(self) -> Problem | None:
        if self.seen.service_conflict is None:
            return None
        return Problem(Reason.NAME_CONFLICT, self.seen.service_conflict)

    def _blocked(self, problem: Problem) -> Plan[RolloutPoolStatus]:
        """What is served goes on being served; only a new spec that cannot be served makes the pool unready."""
        self.conditions.missing(problem, self.seen.store_problem)
        if self.status.endpoint is not None and self.status.observed_generation == self.meta.generation:
            return self._answer({"queued_since": self.status.queued_since}, requeue=self.times.preflight)
        if self.status.endpoint is not None:
            text = f"still serving the former revision; {problem.message}"
            self.conditions.blocked(problem.reason, text)
            return self._answer({"progress": text[:1024]}, requeue=self.times.preflight)
        say = self.conditions.working if problem.reason is Reason.WAITING else self.conditions.blocked
        say(problem.reason, problem.message)
        return self._answer({"phase": "Pending", "progress": problem.message}, requeue=self.times.preflight)

    def _create(self) -> Plan[RolloutPoolStatus]:
        """A RayService that is not there. Its start-up clock runs whether the API server takes it or not (law 8)."""
        if (unfit := engine(self.spec)) is not None:
            return self._blocked(unfit)
        name = revision_name(self.meta, self.seen.wanted)
        create = Action(Act.CREATE, RAYSERVICE, name, params={"revision": self.seen.wanted})
        refusal = self.conditions.refusal(self.seen.refused)
        if refusal.queued if refusal else self._kept_out():
            text = refusal.message if refusal else self.status.progress or ""
            return self._transition("Queued", Reason.QUEUED, text, self._held_back() | {"child": None}, (create,))
        text, since = f"RayService {name} is starting", self._asked_since(name, refusal)
        changes: Changes = {"child": ChildRef(kind=RAYSERVICE, name=name)}
        if since is None:
            changes["started_at"] = format_time(self.now)
        elif refusal is not None and self._late(since):
            return self._not_created(attempt.not_created(refusal, parse_duration(self.spec.startup_timeout)), create)
        if since is None and refusal is None:  # else it is only tried again
            self.notes.append(Note("Starting", text))
            if avoided := bad_nodes(self.status.attempts):
                self.notes.append(Note("NodesAvoided", f"RayService {name} keeps away from {', '.join(avoided)}"))
        return self._transition("Starting", Reason.STARTING, text, changes, (create,))

    def _asked_since(self, name: str, refusal: Problem | None) -> str | None:
        """When the start began of which status tells, None if one begins now: to ask again is no beginning."""
        since, child = self.status.started_at, self.status.child
        if since is None or self.status.observed_generation != self.meta.generation:
            return None
        asked = child is not None and child.name == name and not self._served_this() and not self._late(since)
        return since if asked or refusal is not None else None

    def _late(self, since: str) -> bool:
        return self.now - parse_time(since) > parse_duration(self.spec.startup_timeout)

    def _kept_out(self) -> bool:
        """Whether a quota kept the RayService out at the last look, which may have been another operator's."""
        return self.status.queued_since is not None and self.status.child is None

    def _not_created(self, ended: Ended, create: Action) -> Plan[RolloutPoolStatus]:
        """Failed for whoever waits for it, and tried on: a pool of a person's own has nobody who replaces it."""
        plan = self._failed(None, ended)
        return replace(plan, actions=(create,), requeue=REFUSED_AGAIN)

    def _starting(self, wanted: Revision) -> Plan[RolloutPoolStatus]:
        changes: Changes = {}
        if self._served_this():  # its head or its replicas were lost
            changes["started_at"] = format_time(self.now)
            self.notes.append(Note("Lost", "the servers stopped answering; KubeRay starts them again", "Warning"))
        run, text = wanted.run, wanted.run.text or "the servers are starting"
        begun = self.status.started_at if self.status.child is not None else None  # it was not taken until now
        changes.setdefault("started_at", begun or format_time(self.now))
        started = parse_time(str(changes["started_at"]))
        alive = max(started, self.seen.advanced_at or started)  # bytes of a model that is fetched
        late = self.now - alive > parse_duration(self.spec.startup_timeout)
        others = run.evidence is not None and not {run.evidence.node}.issuperset(wanted.ready_on)
        if run.evidence is not None and self._to_avoid(run.evidence) and (late or not others):
            return self._replace(wanted, run.evidence)
        if late:
            since = "its start" if alive == started else "the last byte of its model came"
            why = f"not serving {self.spec.startup_timeout} after {since}: {text}"
            ended = Ended(run.late, End.STARTUP_TIMEOUT, why)
            if run.late is not Cause.CAPACITY:
                return self._failed(wanted, ended)
            if bad_nodes(self.status.attempts):  # the others have no room: all are taken again
                return self._replace(wanted, ended)
            # who waits for a node waits on: the wall clock is its owner's
        if run.refused:
            return self._not_serving(wanted, "Starting", Reason.POD_REFUSED, text)
        if attempt.begins(run, started, self.now, self.times.poll):
            text = self._for_a_moment(text)
        return self._transition("Starting", run.reason, text, changes | {"child": self._ref(wanted)})

    def _over(self, wanted: Revision, ended: Ended) -> Plan[RolloutPoolStatus]:
        """Serve, or a container of ours, has given up."""
        return self._replace(wanted, ended) if self._to_avoid(ended) else self._failed(wanted, ended)

    def _to_avoid(self, ended: Ended) -> bool:
        """Whether a GPU failed on a node that the next RayService would keep away from.

        With as many nodes as are remembered something else is wrong than nodes: that is for a person, or the round. So
        is a node that was left before, and taken again since no other had room.
        """
        recent = self._recent()
        known = {*bad_nodes(self.status.attempts), *(a.node for a in recent)}
        new = ended.node is not None and ended.node not in known
        return new and ended.reason == End.GPU_FAULT and len(bad_nodes(recent)) < ATTEMPTS_KEPT

    def _recent(self) -> list[AttemptStatus]:
        """What is not forgotten yet; it goes when a RayService is replaced, as another memory asks for another one."""
        ends = ((a, a.finished_at) for a in self.status.attempts)
        return [a for a, at in ends if at is None or self.now - parse_time(at) <= _FORGOTTEN]

    def _replace(self, wanted: Revision, ended: Ended) -> Plan[RolloutPoolStatus]:
        """Another RayService with pods elsewhere: a RayService whose pods change makes them all anew as well.

        The replicas on other nodes go with it. So it waits while any of them is ready, as long as a start may take.
        """
        child, known = wanted.run.child, self.status.attempts
        number = known[-1].attempt + 1 if known else 1
        text = f"RayService {child.name} is replaced: {ended.reason}: {ended.message}"
        self.notes.append(Note("AttemptEnded", text, "Warning"))
        past = remember(self._recent(), None, number, ended, self.status.started_at, None, self.now, None)
        changes: Changes = {"attempts": past, "child": None, "started_at": None}
        return self._transition("Starting", Reason.STARTING, text[:1024], changes, (delete(child),))

    def _left_behind(self, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        """RayServices that answer nobody and are not wanted: they may hold the GPUs that the wanted one waits for."""
        named, avoided = {action.name for action in actions}, bad_nodes(self.status.attempts)
        return tuple(
            delete(r.run.child)
            for r in self.seen.revisions
            if r.revision != self.seen.wanted and r.run.state is not RunState.RUNNING and not r.run.child.deleting
            if r.revision != self.seen.serving or _node_of(r.run) in avoided
            if r.run.child.name not in named
        )

    def _for_a_moment(self, text: str) -> str:
        """What a start says where `text` holds for a moment only: what it said before, if it was starting then."""
        on_its_way = find_condition(self.status.conditions, ConditionType.RECONCILING)
        was_starting = on_its_way is not None and on_its_way.status == "True" and self.status.queued_since is None
        return self.status.progress or text if was_starting else text

    def _queued(self, wanted: Revision) -> Plan[RolloutPoolStatus]:
        """Somebody else decides when it starts: no clock runs until then."""
        text = wanted.run.text or "the servers are held back"
        if wanted.run.refused:
            return self._not_serving(wanted, "Queued", Reason.POD_REFUSED, text, self._held_back())
        changes = self._held_back() | {"child": self._ref(wanted)}
        return self._transition("Queued", wanted.run.reason, text, changes)

    def _held_back(self) -> Changes:
        """Its start-up clock does not run."""
        return {"started_at": None, "queued_since": self.status.queued_since or format_time(self.now)}

    def _failed(self, wanted: Revision | None, ended: Ended) -> Plan[RolloutPoolStatus]:
        text = f"{ended.reason}: {ended.message}"
        return self._not_serving(wanted, "Failed", Reason.FAILED, text, {"cause": ended.cause})

    def _transition(
        self, phase: str, reason: Reason, text: str, changes: Changes, actions: tuple[Action, ...] = ()
    ) -> Plan[RolloutPoolStatus]:
        if self._old_serves():
            self.conditions.working(reason, f"still serving the former revision; {text}")
        else:
            self.conditions.working(reason, text)
            changes |= {"ready_replicas": 0, "weights": [], "endpoint": None}
        changes |= {"phase": phase, "progress": text, "lagging_replicas": self._lagging()}
        return self._answer(changes, actions + self._left_behind(actions), self.times.poll)

    def _not_serving(
        self, wanted: Revision | None, phase: str, reason: Reason, text: str, more: Changes | None = None
    ) -> Plan[RolloutPoolStatus]:
        stalled = find_condition(self.status.conditions, ConditionType.STALLED)
        if stalled is None or (stalled.status, stalled.reason) != ("True", reason):
            self.notes.append(Note(reason.value, text, "Warning"))
        self.conditions.blocked(reason, text)
        changes: Changes = {"phase": phase, "progress": text[:1024], "child": wanted and self._ref(wanted)} | (
            more or {}
        )
        if not self._old_serves():
            changes |= {"ready_replicas": 0, "weights": [], "endpoint": None}
        return self._answer(changes, requeue=self.times.preflight)

    def _serve(self, wanted: Revision) -> Plan[RolloutPoolStatus]:
        """Switch first; ready and the old ones deleted once the Service is seen to select this revision."""
        if self.seen.serving != self.seen.wanted:
            switch = Action(Act.APPLY, SERVICE, self.meta.name, params={"revision": self.seen.wanted})
            text = self._for_a_moment("the servers answer; the Service moves to them")
            return self._transition("Starting", Reason.STARTING, text, {}, (switch,))
        digest = self.seen.digest or self.spec.model or ""
        old = [r.run.child for r in self.seen.revisions if r.revision != self.seen.wanted]
        actions = tuple(delete(child) for child in old if not child.deleting)
        text = f"{self.spec.replicas} of {self.spec.replicas} replicas serve {self.spec.served_model_name}"
        if not self._served_this():
            self.notes.append(Note("Serving", f"{text} at {endpoint_url(self.meta.name, self.meta.namespace)}"))
        self.conditions.done(Reason.AVAILABLE, text)
        changes: Changes = {
            "phase": "Running",
            "endpoint": endpoint_url(self.meta.name, self.meta.namespace),
            "ready_replicas": self.spec.replicas,
            "model_digest": digest,
            "weights": [WeightsStatus(digest=digest, replicas=self.spec.replicas)],
            "lagging_replicas": self._lagging(),
            "child": self._ref(wanted),
            "progress": text,
        }
        return self._answer(changes, actions, self.times.poll if old else None)

    def _served_this(self) -> bool:
        """Whether the last write of status said that the wanted revision is served, and no other."""
        return self.status.endpoint is not None and self.status.lagging_replicas == 0

    def _old_serves(self) -> bool:
        """Whether a former revision answers behind the stable Service."""
        return any(
            r.revision == self.seen.serving and r.revision != self.seen.wanted and r.run.state is RunState.RUNNING
            for r in self.seen.revisions
        )

    def _lagging(self) -> int:
        return self.spec.replicas if self._old_serves() else 0

    def _ref(self, revision: Revision) -> ChildRef:
        return ChildRef(kind=RAYSERVICE, name=revision.run.child.name)

    def _answer(
        self, changes: Changes, actions: tuple[Action, ...] = (), requeue: float | None = None
    ) -> Plan[RolloutPoolStatus]:
        failed = changes.get("phase") == "Failed"  # that says what was refused, and more
        refused = not failed and self.conditions.refused(self.seen.refused, waiting=bool(actions))
        servers = f",{NODE_TYPE}=worker" if self.spec.gpus_per_replica else ""
        fixed = {
            "observed_generation": self.meta.generation,
            "conditions": self.conditions.result(),
            "replicas": self.seen.pods,
            "cause": None,
            "queued_since": None,
            "selector": f"{LABEL_POOL}={self.meta.name}{servers}",
        } | budget.held(self.status, self.seen.gpus, self.now)
        status = self.status.model_copy(update=fixed | changes)
        again = REFUSED_AGAIN if refused else requeue
        return Plan(status, actions, tuple(self.notes), again, more=bool(actions))


def _node_of(run: Run) -> str | None:
    """The node whose GPU failed it."""
    fault = run.ended or run.evidence
    return fault.node if fault is not None else None
