"""What is under way, as figures that a person can be woken by: read at every scrape from the objects in memory.

Objects that have ended are counted and not named, so that figures by name are no more than what runs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flywheel_api.base import parse_duration, parse_time
from flywheel_api.conditions import Condition, ConditionType, find_condition
from flywheel_api.names import LABEL_OWNER_UID, LABEL_STAGE, kebab
from flywheel_api.pool import RolloutPoolStatus
from flywheel_api.results import Verdict
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.round import BudgetSpec, FlywheelRoundStatus, StageState
from flywheel_operator.plan import graph
from flywheel_operator.ports.cache import ReadCache
from flywheel_operator.ports.kinds import OWN, POOLS, RLJOBS, ROUNDS, Object, labels_of

_NAMED = ["namespace", "name"]


@dataclass(frozen=True)
class _Entry:
    """What the figures take from one object. `used` are shares of a round's limits, `at_work` its running stages."""

    kind: str
    name: list[str]
    uid: str
    labels: Mapping[str, str]
    place: tuple[str, str, str]
    further: str
    over: bool = False
    held_gpus: int = 0
    works: bool = False
    gpu_hours: float = 0.0
    tokens: Mapping[str, float] = field(default_factory=dict)
    used: Mapping[str, float] = field(default_factory=dict)
    at_work: frozenset[str] = frozenset()


class Census(Collector):
    """A collector of prometheus_client. It remembers since when an object's status has said what it says."""

    def __init__(self, cache: ReadCache, clock: Callable[[], float] = time.time) -> None:
        self._cache, self._clock = cache, clock
        self._since: dict[str, tuple[str, float]] = {}

    def collect(self) -> Iterator[Metric]:
        """All figures."""
        now, entries, unreadable = self._clock(), list[_Entry](), Counter[str]()
        for kind in OWN:
            for obj in self._cache.list(kind, None):
                entry = _entry(obj, now)
                if entry is None:
                    unreadable[kind.kind] += 1
                else:
                    entries.append(entry)
        live = [e for e in entries if e.kind == ROUNDS.kind and not e.over]
        yield _unreadable(unreadable)
        yield _counted(entries)
        yield self._ages([e for e in entries if e.kind != POOLS.kind and not e.over], now)
        yield _budgets(live)
        yield _tokens(live)
        yield _gpu_seconds(live)
        yield _gpus(entries)

    def _ages(self, entries: Iterable[_Entry], now: float) -> Metric:
        """Seconds since an object last got further, as far as this operator has seen; a restart begins at 0."""
        family = GaugeMetricFamily(
            "flywheel_progress_age_seconds", "Seconds since it last got further.", labels=["kind", *_NAMED]
        )
        seen = {}
        for entry in entries:
            before = self._since.get(entry.uid)
            same = before is not None and before[0] == entry.further
            seen[entry.uid] = before if before is not None and same else (entry.further, now)
            family.add_metric([entry.kind, *entry.name], now - seen[entry.uid][1])
        self._since = seen
        return family


def _entry(obj: Object, now: float) -> _Entry | None:
    """One object; None where its status is not of this release's form: one such object must not cost the page."""
    read = {ROUNDS.kind: _round, POOLS.kind: _pool, RLJOBS.kind: _rljob}[obj["kind"]]
    try:
        return read(obj, now)
    except ValueError:  # pydantic's as well: the look at that object says what is wrong
        return None


def _round(obj: Object, now: float) -> _Entry:
    status = FlywheelRoundStatus.model_validate(obj.get("status") or {})
    budget = BudgetSpec.model_validate((obj.get("spec") or {}).get("budget") or {})
    tokens = {entry.role: float(entry.tokens) for entry in status.usage.tokens}
    hours = float(status.usage.gpu_hours)
    over = status.finished_at is not None
    stage = _end(status.verdict is Verdict.FAILED) if over else status.stage or ""
    stages = [(s.name, s.state.value, s.attempt, s.progress) for s in status.stages]
    return _Entry(
        **_identity(obj),
        place=(stage, *_said(status.conditions)),
        further=repr(stages),
        over=over,
        gpu_hours=hours,
        tokens=tokens,
        used=_used(
            budget, hours, tokens, now - parse_time(status.started_at).timestamp() if status.started_at else None
        ),
        at_work=frozenset(s.name for s in status.stages if s.state is StageState.RUNNING),
    )


def _pool(obj: Object, _now: float) -> _Entry:
    status = RolloutPoolStatus.model_validate(obj.get("status") or {})
    return _Entry(
        **_identity(obj),
        place=(status.phase or "", *_said(status.conditions)),
        further="",
        held_gpus=status.held_gpus,
        works=status.endpoint is not None,
    )


def _rljob(obj: Object, _now: float) -> _Entry:
    status = RLJobStatus.model_validate(obj.get("status") or {})
    over = status.finished_at is not None
    stage = _end(status.manifest is None) if over else status.phase or ""
    return _Entry(
        **_identity(obj),
        place=(stage, *_said(status.conditions)),
        further=repr((status.step, status.checkpoint, status.attempt, status.phase)),
        over=over,
        held_gpus=status.held_gpus,
        works=status.running_since is not None,
    )


def _identity(obj: Object) -> Object:
    meta = obj["metadata"]
    name = [meta["namespace"], meta["name"]]
    return {"kind": obj["kind"], "name": name, "uid": meta["uid"], "labels": labels_of(obj)}


def _end(failed: bool) -> str:
    return "Failed" if failed else "Done"


def _said(conditions: list[Condition]) -> tuple[str, str]:
    """The reason of Ready, and whether a person must act."""
    ready, stalled = (find_condition(conditions, kind) for kind in (ConditionType.READY, ConditionType.STALLED))
    return ready.reason if ready else "", str(stalled is not None and stalled.status == "True").lower()


def _used(budget: BudgetSpec, hours: float, tokens: Mapping[str, float], seconds: float | None) -> dict[str, float]:
    """Used shares of a round's limits; of a limit of 0 there is none."""
    found = {}
    if budget.gpu_hours is not None and float(budget.gpu_hours):
        found["gpuHours"] = hours / float(budget.gpu_hours)
    if seconds is not None:
        found["wallClock"] = seconds / parse_duration(budget.wall_clock).total_seconds()
    for limit in budget.tokens:
        if float(limit.limit):
            found[f"tokens:{limit.role.value}"] = tokens.get(limit.role.value, 0.0) / float(limit.limit)
    return found


def _unreadable(found: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(
        "flywheel_unreadable_objects", "Objects whose status cannot be read, left out of the rest.", labels=["kind"]
    )
    for kind in OWN:
        family.add_metric([kind.kind], found.get(kind.kind, 0))
    return family


def _counted(entries: Iterable[_Entry]) -> Metric:
    """Objects by where they are, a stage or a phase, Done or Failed afterwards, and by what is said of them."""
    family = GaugeMetricFamily(
        "flywheel_objects",
        "Rounds, pools and RLJobs by stage or phase, reason of Ready, and whether a person must act.",
        labels=["kind", "stage", "reason", "stalled"],
    )
    found = Counter((entry.kind, *entry.place) for entry in entries)
    for labels, count in sorted(found.items()):
        family.add_metric(list(labels), count)
    return family


def _budgets(rounds: Iterable[_Entry]) -> Metric:
    """Used shares of a round's limits; above 1 it ends."""
    family = GaugeMetricFamily(
        "flywheel_round_budget_used_ratio", "Used share of a budget of a running round.", labels=[*_NAMED, "budget"]
    )
    for entry in rounds:
        for budget, share in entry.used.items():
            family.add_metric([*entry.name, budget], share)
    return family


def _tokens(rounds: Iterable[_Entry]) -> Metric:
    family = GaugeMetricFamily("flywheel_round_tokens", "Tokens of a running round, by role.", labels=[*_NAMED, "role"])
    for entry in rounds:
        for role, count in entry.tokens.items():
            family.add_metric([*entry.name, role], count)
    return family


def _gpu_seconds(rounds: Iterable[_Entry]) -> Metric:
    family = GaugeMetricFamily("flywheel_round_gpu_seconds", "GPU-seconds of a running round.", labels=_NAMED)
    for entry in rounds:
        family.add_metric(entry.name, entry.gpu_hours * 3600)
    return family


def _gpus(entries: Iterable[_Entry]) -> Metric:
    """GPUs that pods hold, and those of them that do what they are held for.

    That is: a training's program runs, a stage asks the pool. Of a pool without a round nobody here knows who asks it:
    it counts as asked while it serves.
    """
    entries = list(entries)
    at_work = {e.uid: e.at_work for e in entries if e.kind == ROUNDS.kind}
    held, busy = Counter[str](), Counter[str]()
    for entry in entries:
        held[entry.kind] += entry.held_gpus
        if entry.works and (entry.kind == RLJOBS.kind or _asked(entry.labels, at_work)):
            busy[entry.kind] += entry.held_gpus
    family = GaugeMetricFamily(
        "flywheel_gpus", "GPUs that pods hold, and how many of them are at work.", labels=["kind", "state"]
    )
    for kind in (POOLS.kind, RLJOBS.kind):
        family.add_metric([kind, "held"], held[kind])
        family.add_metric([kind, "busy"], busy[kind])
    return family


def _asked(labels: Mapping[str, str], at_work: Mapping[str, frozenset[str]]) -> bool:
    owner = labels.get(LABEL_OWNER_UID, "")
    if owner not in at_work:
        return True
    serving = next((p for p in graph.POOLS if kebab(p) == labels.get(LABEL_STAGE)), None)
    return serving is not None and bool(at_work[owner] & {user.value for user in graph.users_of(serving)})
