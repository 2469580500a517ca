"""A world whose every change is told to the operator at once, as a watch does it: each event has a look of its own.

What is counted here is the most that something can cost: in a busy cluster several events come before one look.
"""

from __future__ import annotations

from flywheel_api.stages import STAGE_CONFIG_ENV
from flywheel_operator.feed import Feed
from flywheel_operator.ports.cache import WATCHED, CachedKube, ReadCache
from flywheel_operator.ports.kinds import Object
from flywheel_operator.ports.kube_fake import FakeKube
from flywheel_operator.ports.kube_fake import Key as Place
from flywheel_operator.queue import Key, WorkQueue
from flywheel_operator.reconcile import Reconciler
from flywheel_operator.subjects import subjects
from unit.operator.world import NS, START, World, env_json

WATCHED_KINDS = frozenset(resource.kind for resource in WATCHED)
AT_ONCE = 0.1  # seconds; what asks for a look later is at rest


class TellingKube(FakeKube):
    """Kubernetes in memory that keeps what a watch would tell."""

    def __init__(self) -> None:
        super().__init__()
        self.news: list[tuple[str, Object]] = []

    def _store(self, key: Place, obj: Object) -> None:
        change = "MODIFIED" if key in self.objects else "ADDED"
        super()._store(key, obj)
        if key[0] in WATCHED_KINDS:
            self.news.append((change, self.objects[key]))


class Woken(WorkQueue):
    """Keys in the order in which they were woken; what is due later is left to the test's clock."""

    def __init__(self) -> None:
        self.keys: dict[Key, None] = {}

    def add(self, key: Key, delay: float = 0.0, changed: bool = False) -> None:
        if delay < AT_ONCE:
            self.keys[key] = None


class WiredWorld(World):
    """Looks happen when the watch wakes an object, and at once where the last look asked for it."""

    def __init__(self) -> None:
        super().__init__()
        self.telling = TellingKube()
        for obj in self.kube.objects.values():
            self.telling.seed(obj)
        self.kube = self.telling
        self.woken, cached = Woken(), CachedKube(self.kube, ReadCache())
        self.feed = Feed(cached, self.woken, [])
        made = subjects(cached, lambda _: self.store, self.config, lambda: (self.now - START).total_seconds())
        self.reconcile = Reconciler(cached, made, lambda: self.now)

    async def settle(self) -> None:
        """Until nobody is woken any more."""
        while self.telling.news or self.woken.keys:
            news, self.telling.news = self.telling.news, []
            for change, obj in news:
                await self.feed.see(change, obj)
            for key in list(self.woken.keys)[:1]:
                del self.woken.keys[key]
                again = await self.reconcile(key)
                self.woken.add(key, again if isinstance(again, float) else 60.0)

    async def play(self) -> None:
        """Job controller, kubelet and programs, a step at a time with the operator between, until nothing moves."""
        await self.feed.resync()
        await self.settle()
        while fresh := [job for job in self.of_kind("Job") if "status" not in job]:
            for job in fresh:
                await self._play(job)

    async def _play(self, job: Object) -> None:
        name, template = job["metadata"]["name"], job["spec"]["template"]
        self.kube.update("Job", NS, name, status={"active": 1})
        await self.settle()
        self._pod(job, template)
        for phase in ("Pending", "Running"):
            self.kube.update("Pod", NS, f"{name}-pod", status={"phase": phase})
            await self.settle()
        if env_json(template["spec"], STAGE_CONFIG_ENV)["stage"] not in self.holding:
            self._job(job)
            await self.settle()
