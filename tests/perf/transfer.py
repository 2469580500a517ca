"""A training whose state is hundreds of gigabytes, on a slow line: does anybody take the long transfers for a stall?

    python -m perf.transfer [gigabytes] [megabytes a second]

The job's own pulse, the operator's own reading of it and its own judgement, over a clock that is turned by hand.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from unittest import mock

from flywheel_api.artifacts import fetch_key, progress_key
from flywheel_api.base import format_time
from flywheel_api.common import ChildRef
from flywheel_api.stages import TRAIN_STAGE
from flywheel_jobs.harness import pulse
from flywheel_jobs.harness.pulse import Pulse
from flywheel_jobs.storage.store import Store
from flywheel_operator.model import Child, Run, RunState
from flywheel_operator.observe.attempts import Results
from flywheel_operator.plan import attempt
from flywheel_operator.ports.store_fake import FakeStore
from flywheel_store.memory import MemoryBucket
from flywheel_store.traffic import Meter

UID = "uid"
TICK = 60  # seconds between two looks
HALF_AN_HOUR = timedelta(minutes=30)
LIMITS = attempt.Limits(**{f.name: HALF_AN_HOUR for f in fields(attempt.Limits)})
PHASES = (
    ("fetching the model", RunState.STARTING),
    ("restoring the last checkpoint", RunState.RUNNING),
    ("uploading the last checkpoint", RunState.RUNNING),
    ("merging the shards into a model", RunState.RUNNING),
    ("uploading the model", RunState.RUNNING),
)


@dataclass(frozen=True)
class Seen:
    """How a phase went: minutes until it was over, and what the operator said at its end (nothing: it was let be)."""

    phase: str
    minutes: int
    said: str = ""


def run(gigabytes: float, rate: float, until: float = 1.0) -> Iterator[Seen]:
    """All phases, `rate` in MB/s; no byte moves after the share `until` of each. Stops where the operator does."""
    clock = _Clock()
    with mock.patch.object(pulse, "now", clock.text), mock.patch.object(pulse, "MOVED", clock.meter):
        for phase, state in PHASES:
            seen = _phase(clock, phase, state, gigabytes * 1e9, rate * 1e6, until)
            yield seen
            if seen.said:
                return


class _Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.meter = Meter()
        self.bucket = MemoryBucket()
        self.results = Results(poll=0.0, clock=self.time.timestamp)

    def text(self) -> str:
        return format_time(self.time)


def _phase(clock: _Clock, phase: str, state: RunState, size: float, rate: float, until: float) -> Seen:
    key = (fetch_key if state is RunState.STARTING else progress_key)(UID, TRAIN_STAGE, 1)
    told = Pulse(Store(clock.bucket), key)
    told.update(text=phase)
    begun, moved = clock.time, 0.0
    at = attempt.Attempt(started=begun, child=ChildRef(kind="RayJob", name="j"))
    store, run = FakeStore(), Run(Child("RayJob", "j", "u"), state)
    store.objects = store.memory.objects = clock.bucket.objects
    while moved < size:
        if clock.time - begun > 2 * timedelta(seconds=size / rate):
            return Seen(phase, _minutes(clock.time - begun), "nobody has noticed that nothing moves")
        clock.time += timedelta(seconds=TICK)
        step = min(rate * TICK, size * until - moved)
        moved += step
        clock.meter.add(int(step))
        told.store.put_json(key, told.look())
        record = asyncio.run(clock.results.attempt(store, UID, TRAIN_STAGE, 1, ("n", "k"), run, clock.time))
        stands = attempt.stand(at, run, record, LIMITS, clock.time)
        if isinstance(stands, attempt.Over):
            ended = stands.ended
            return Seen(phase, _minutes(clock.time - begun), f"{ended.cause}/{ended.reason}: {ended.message}")
    return Seen(phase, _minutes(clock.time - begun))


def _minutes(time: timedelta) -> int:
    return round(time.total_seconds() / 60)


def main() -> int:
    """Prints a table."""
    size, rate = float((sys.argv[1:] or ["900"])[0]), float((sys.argv[2:] or ["50"])[0])
    for title, until in ((f"{size:g} GB at {rate:g} MB/s", 1.0), ("the same, stopped at 40 %", 0.4)):
        print(title)
        for seen in run(size, rate, until):
            print(f"  {seen.phase:34} {seen.minutes:5} min  {seen.said or 'alive'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
