"""Reads from the watch: what the cache knows after news in any order, and that nothing newer is ever overlooked."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flywheel_api.names import (
    ANNOTATION_PAGE,
    LABEL_MANAGED_BY,
    LABEL_OWNER_KIND,
    LABEL_OWNER_NAME,
    LABEL_OWNER_UID,
    MANAGED_BY,
)
from flywheel_operator.feed import Feed
from flywheel_operator.ports.cache import SELECTOR, CachedKube, ReadCache, shrunk
from flywheel_operator.ports.errors import Conflict, NotFound, Retryable
from flywheel_operator.ports.kinds import EVENTS, JOBS, PODS, ROUNDS, SECRETS, SERVICES, Resource
from flywheel_operator.ports.kube_fake import FakeKube
from flywheel_operator.queue import Key, WorkQueue
from flywheel_operator.reconcile import meta_of

Object = dict[str, Any]
NS = "team"


def job(name: str, uid: str = "u1", version: int | str = 1, ours: bool = True, **labels: str) -> Object:
    marks = labels | ({LABEL_MANAGED_BY: MANAGED_BY} if ours else {})
    meta = {"name": name, "namespace": NS, "uid": uid, "resourceVersion": str(version), "labels": marks}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {}, "status": {"version": version}}


def a_round(name: str, uid: str = "r1", version: int = 1) -> Object:
    meta = {"name": name, "namespace": NS, "uid": uid, "resourceVersion": str(version)}
    return {"apiVersion": "flywheel.dev/v1alpha1", "kind": "FlywheelRound", "metadata": meta, "spec": {"a": 1}}


def child(owner: Object, name: str) -> Object:
    """A Job of a round before the API server has it."""
    marks = {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_OWNER_UID: owner["metadata"]["uid"],
        LABEL_OWNER_KIND: owner["kind"],
        LABEL_OWNER_NAME: owner["metadata"]["name"],
    }
    meta = {"name": name, "namespace": NS, "labels": marks}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"parallelism": 2, "template": {"x": 1}}}


def version_of(cache: ReadCache, name: str = "a") -> str | None:
    found = cache.get(JOBS, NS, name)
    return found["metadata"]["resourceVersion"] if found else None


# ---- the cache ----------------------------------------------------------------------------------------------------
def test_older_news_change_nothing() -> None:
    cache = ReadCache()
    assert cache.put(job("a", version=9))
    assert not cache.put(job("a", version=10 - 2)), "9 is newer than 8"
    assert not cache.put(job("a", version=9))
    assert version_of(cache) == "9"
    assert cache.put(job("a", version=10)), "as numbers, not as text"
    assert version_of(cache) == "10"


def test_a_deletion_is_final_whatever_comes_late() -> None:
    cache = ReadCache()
    cache.put(job("a", version=5))
    assert cache.remove(job("a", version=9))
    assert not cache.put(job("a", version=8)), "news from before the end"
    assert version_of(cache) is None
    cache.age()
    assert not cache.put(job("a", version=8)), "a resync later too"
    assert not cache.remove(job("a", version=9))


def test_made_again_under_the_same_name() -> None:
    cache = ReadCache()
    cache.put(job("a", "u1", 5))
    assert cache.put(job("a", "u2", 8)), "the deletion of the first was missed, or comes later"
    assert not cache.remove(job("a", "u1", 7)), "another incarnation's end"
    assert version_of(cache) == "8"
    assert not cache.put(job("a", "u1", 6)), "another incarnation's past"
    assert version_of(cache) == "8"


def test_a_late_deletion_does_not_take_what_came_back_under_our_label() -> None:
    cache = ReadCache()
    cache.put(job("a", version=5))
    assert cache.put(job("a", version=7, ours=False)), "the label goes: not ours any more"
    assert version_of(cache) is None
    assert cache.put(job("a", version=8)), "and comes back"
    assert not cache.remove(job("a", version=7))
    assert version_of(cache) == "8"


def test_versions_that_are_no_numbers_are_taken_as_they_come() -> None:
    cache = ReadCache()
    for version in ("b", "a", "a"):
        assert cache.put(job("a", version=version))
        assert version_of(cache) == version
    assert not cache.remove(job("a", "u0", "0x")), "but not what concerns another incarnation"
    assert cache.remove(job("a", version="0x"))
    assert version_of(cache) is None


def test_lists_by_namespace_owner_and_any_label() -> None:
    cache = ReadCache()
    cache.put(job("b", "u2", **{LABEL_OWNER_UID: "x", "stage": "mine"}))
    cache.put(job("a", "u1", **{LABEL_OWNER_UID: "x"}))
    cache.put(job("c", "u3", **{LABEL_OWNER_UID: "y"}))

    def names(namespace: str | None, labels: dict[str, str] | None = None, resource: Resource = JOBS) -> list[str]:
        return [obj["metadata"]["name"] for obj in cache.list(resource, namespace, labels)]

    assert names(NS) == names(None) == ["a", "b", "c"]
    assert names(NS, {LABEL_OWNER_UID: "x"}) == ["a", "b"]
    assert names(None, {LABEL_OWNER_UID: "x"}) == ["a", "b"]
    assert names(NS, {LABEL_OWNER_UID: "x", "stage": "mine"}) == ["b"]
    assert names("other") == names(NS, resource=PODS) == []
    cache.put(job("b", "u2", 2, **{LABEL_OWNER_UID: "y"}))
    assert names(NS, {LABEL_OWNER_UID: "x"}) == ["a"]
    assert names(NS, {LABEL_OWNER_UID: "y"}) == ["b", "c"]
    for name, uid in (("a", "u1"), ("b", "u2"), ("c", "u3")):
        cache.remove(job(name, uid, 9))
    assert len(cache) == 0 and not cache._index, "no trace stays"


def test_nobody_changes_what_another_one_reads() -> None:
    cache = ReadCache()
    given = a_round("r")
    cache.put(given)
    given["spec"]["a"] = 2
    first = cache.get(ROUNDS, NS, "r")
    assert first is not None
    first["spec"]["a"] = 3
    cache.list(ROUNDS, NS)[0]["spec"]["a"] = 4
    again = cache.get(ROUNDS, NS, "r")
    assert again is not None and again["spec"] == {"a": 1}


def test_what_is_kept_of_an_object() -> None:
    meta = {"name": "a", "namespace": NS, "uid": "u", "resourceVersion": "1", "labels": {"a": "b"}}
    noise = {"managedFields": [{}], "annotations": {"last-applied": "{}"}}
    status = {"name": "main", "image": "i", "imageID": "sha256:x", "volumeMounts": [{}], "state": {"terminated": {}}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta | noise,
        "spec": {"containers": [{"env": [{}]}], "nodeName": "n"},
        "status": {"phase": "Failed", "reason": "Evicted", "initContainerStatuses": [status]},
    }
    kept = {"name": "main", "image": "i", "state": {"terminated": {}}}
    assert shrunk(pod) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"nodeName": "n"},
        "status": {"phase": "Failed", "reason": "Evicted", "initContainerStatuses": [kept]},
    }
    whole = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": {"a": "b"}}}
    assert shrunk(whole | {"metadata": meta | noise}) == whole
    own = a_round("r") | {"spec": {"endpoints": [{"role": "Policy"}]}, "status": {"stages": [{}]}}
    assert shrunk(own) == own
    cache = ReadCache()
    cache.put(pod | {"metadata": meta | noise | {"labels": SELECTOR}})
    assert cache.get(PODS, NS, "a") == shrunk(pod) | {"metadata": meta | {"labels": SELECTOR}}


def test_what_the_operator_reads_of_annotations_is_kept() -> None:
    """A training could not draw its round's page: the cache had taken what to draw it with."""
    cache, told = ReadCache(), a_round("r")
    told["metadata"]["annotations"] = {ANNOTATION_PAGE: "{}", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    cache.put(told)
    kept = cache.get(ROUNDS, NS, "r")
    assert kept is not None and kept["metadata"]["annotations"] == {ANNOTATION_PAGE: "{}"}
    assert meta_of(kept).page == "{}"


# ---- the port over it ---------------------------------------------------------------------------------------------
class Counting(FakeKube):
    """A fake that counts reads, and can be told to be away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.away = False

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        self.asked.append(f"get {resource.kind}/{name}")
        return await super().get(resource, namespace, name)

    async def pages(
        self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
    ) -> AsyncIterator[list[Object]]:
        if self.away:
            raise Retryable("away")
        async for page in super().pages(resource, namespace, labels):
            yield page

    async def list(
        self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
    ) -> list[Object]:
        self.asked.append(f"list {resource.kind}")
        return await super().list(resource, namespace, labels)


class Setting:
    """A fake API, the cached port over it, and the feed that fills it."""

    def __init__(self) -> None:
        self.api = Counting()
        self.kube = CachedKube(self.api, ReadCache())

        async def nothing(key: Key) -> float | None:
            return None

        self.queue = WorkQueue(nothing)
        self.feed = Feed(self.kube, self.queue, [])

    async def primed(self) -> Setting:
        await self.feed.resync()
        self.api.asked.clear()
        self.queue._due.clear()
        return self

    def woken(self) -> set[str]:
        found = {key.name for key in self.queue._due}
        self.queue._due.clear()
        return found


async def test_before_the_first_list_the_api_is_asked() -> None:
    s = Setting()
    s.api.seed(a_round("r"))
    assert await s.kube.get(ROUNDS, NS, "r") and await s.kube.list(ROUNDS, NS)
    assert s.api.asked == ["get FlywheelRound/r", "list FlywheelRound"]
    await s.primed()
    assert await s.kube.get(ROUNDS, NS, "r") and await s.kube.list(ROUNDS, NS) and await s.kube.list(ROUNDS, None)
    assert await s.kube.list(JOBS, NS, {LABEL_OWNER_UID: "r1"}) == []
    assert s.api.asked == [], "a look at rest costs no request"
    assert s.kube.hits == 4


async def test_what_is_not_watched_is_asked_for() -> None:
    s = await Setting().primed()
    await s.kube.get(ROUNDS, NS, "nobody")
    assert s.api.asked == [], "of our own kinds all are known"
    await s.kube.get(SECRETS, NS, "key")
    await s.kube.get(SERVICES, NS, "somebody-elses")
    assert s.api.asked == ["get Secret/key", "get Service/somebody-elses"]
    other = Feed(CachedKube(s.api, ReadCache()), s.queue, [NS])
    await other.resync()
    s.api.asked.clear()
    assert other._kube.cache.covers(ROUNDS, NS) and not other._kube.cache.covers(ROUNDS, "elsewhere")


async def test_a_list_that_fails_leaves_the_api_in_charge() -> None:
    s = Setting()
    s.api.seed(a_round("r"))
    s.api.away = True
    await s.feed.resync()
    assert await s.kube.get(ROUNDS, NS, "r")
    assert s.api.asked == ["get FlywheelRound/r"]


async def test_own_writes_are_seen_at_once() -> None:
    s = Setting()
    owner = s.api.seed(a_round("r"))
    await s.primed()
    made = await s.kube.create(child(owner, "j"))
    assert [j["metadata"]["uid"] for j in await s.kube.list(JOBS, NS, {LABEL_OWNER_UID: "r1"})] == [
        made["metadata"]["uid"]
    ]
    written = await s.kube.patch_status(owner, {"stage": "Mine"})
    found = await s.kube.get(ROUNDS, NS, "r")
    assert found is not None and found["status"] == {"stage": "Mine"}
    await s.feed.see("MODIFIED", owner)  # an event from before
    assert (await s.kube.get(ROUNDS, NS, "r") or {})["status"] == {"stage": "Mine"}
    await s.kube.patch_status(written, {"stage": "Solve"})
    service = child(owner, "s") | {"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"a": "1"}}}
    await s.kube.apply(service)
    await s.kube.apply(service | {"spec": {"selector": {"a": "2"}}})
    assert (await s.kube.get(SERVICES, NS, "s") or {})["spec"] == {"selector": {"a": "2"}}
    assert s.api.asked == []
    await s.kube.delete(JOBS, NS, "j", made["metadata"]["uid"])
    await s.feed.see("MODIFIED", made | {"metadata": made["metadata"] | {"resourceVersion": "9999"}})
    assert await s.kube.list(JOBS, NS) == [], "news from between our deletion and its end"


async def test_what_ends_slowly_is_seen_ending() -> None:
    s = Setting()
    owner = s.api.seed(a_round("r"))
    await s.primed()
    made = await s.kube.create(child(owner, "j"))

    class Slow(FakeKube):
        async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> Object | None:
            return made | {"metadata": made["metadata"] | {"resourceVersion": "99", "deletionTimestamp": "now"}}

    kube = CachedKube(Slow(), s.kube.cache)
    await kube.delete(JOBS, NS, "j", made["metadata"]["uid"])
    assert ["deletionTimestamp" in j["metadata"] for j in await s.kube.list(JOBS, NS)] == [True]


async def test_after_a_conflict_the_newest_is_read() -> None:
    s = Setting()
    owner = s.api.seed(a_round("r"))
    await s.primed()
    s.api.update("FlywheelRound", NS, "r", status={"stage": "else"})
    with pytest.raises(Conflict):
        await s.kube.patch_status(owner, {"stage": "Mine"})
    assert (await s.kube.get(ROUNDS, NS, "r") or {})["status"] == {"stage": "else"}
    theirs = s.api.seed(child(owner, "j"))
    with pytest.raises(Conflict):
        await s.kube.create(child(owner, "j"))
    assert (await s.kube.get(JOBS, NS, "j") or {})["metadata"]["uid"] == theirs["metadata"]["uid"]
    assert s.api.asked == ["get FlywheelRound/r", "get Job/j"]
    s.api.remove("FlywheelRound", NS, "r")
    with pytest.raises(NotFound):
        await s.kube.patch_status(owner, {"stage": "Mine"})
    assert await s.kube.get(ROUNDS, NS, "r") is None
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": NS}}
    await s.kube.create(event)
    s.api.asked.clear()
    with pytest.raises(Conflict):
        await s.kube.create(event)
    assert s.api.asked == [] and s.kube.cache.get(EVENTS, NS, "e") is None, "Events are not watched"


async def test_a_refresh_that_finds_nothing_does_not_undo_what_came_meanwhile() -> None:
    s = await Setting().primed()
    s.kube.cache.put(a_round("r", "r1", 1))

    class Late(FakeKube):
        async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
            s.kube.cache.put(a_round("r", "r2", 7))
            return None

    assert await CachedKube(Late(), s.kube.cache).refresh(ROUNDS, NS, "r") is None
    assert (await s.kube.get(ROUNDS, NS, "r") or {})["metadata"]["uid"] == "r2"


async def test_a_resync_finds_what_the_watch_missed_and_wakes_whom_it_concerns() -> None:
    s = Setting()
    rounds = {name: s.api.seed(a_round(name, name)) for name in ("changed", "gone", "still", "parent", "mother")}
    s.api.seed(child(rounds["mother"], "lost"))
    await s.primed()
    s.api.remove("FlywheelRound", NS, "gone")
    s.api.remove("Job", NS, "lost")
    s.api.seed(child(rounds["parent"], "new"))
    s.api.update("FlywheelRound", NS, "changed", status={"stage": "x"})
    assert await s.kube.get(ROUNDS, NS, "gone") is not None
    assert [await s.kube.relist(resource, NS) for resource in (ROUNDS, JOBS)] == [2, 2]
    assert [await s.kube.relist(resource, NS) for resource in (ROUNDS, JOBS)] == [0, 0]
    assert await s.kube.get(ROUNDS, NS, "gone") is None
    assert (await s.kube.get(ROUNDS, NS, "changed") or {})["status"] == {"stage": "x"}
    assert [j["metadata"]["name"] for j in await s.kube.list(JOBS, NS)] == ["new"]
    await s.feed.resync()
    assert s.woken() == {"changed", "still", "parent", "mother"}, "every object of ours"


async def test_what_changes_during_a_list_is_kept() -> None:
    s = Setting()
    s.api.seed(a_round("a", "a"))
    await s.primed()
    s.kube.cache.put(a_round("young", "y", 3))  # listed too early to have it

    class Busy(FakeKube):
        async def pages(
            self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
        ) -> AsyncIterator[list[Object]]:
            s.kube.cache.put(a_round("new", "n", 50))
            s.kube.cache.put(a_round("young", "y", 51))
            s.kube.cache.remove(a_round("ended", "e", 52))
            yield [a_round("a", "a", 1), a_round("ended", "e", 40)]

    await CachedKube(Busy(), s.kube.cache).relist(ROUNDS, None)
    assert [o["metadata"]["name"] for o in s.kube.cache.list(ROUNDS, None)] == ["a", "new", "young"]


async def test_events_wake_the_object_and_its_owner() -> None:
    s = await Setting().primed()
    owner = a_round("r")
    await s.feed.see(None, owner)
    assert s.woken() == {"r"}
    await s.feed.see("ADDED", child(owner, "j") | {"metadata": job("j")["metadata"] | child(owner, "j")["metadata"]})
    assert s.woken() == {"r"}
    found = await s.kube.list(JOBS, NS, {LABEL_OWNER_UID: "r1"})
    assert [j["metadata"]["name"] for j in found] == ["j"], "known before its owner is looked at"
    await s.feed.see("DELETED", found[0] | {"metadata": found[0]["metadata"] | {"resourceVersion": "5"}})
    assert s.woken() == {"r"}
    assert await s.kube.list(JOBS, NS) == []


async def test_a_deletion_says_what_is_kept_and_wakes_nobody() -> None:
    s = await Setting().primed()
    obj = a_round("r") | {"status": {"model": {"digest": "sha256:m"}, "report": "s3://b/report"}}
    await s.feed.see("ADDED", obj)
    s.woken()
    await s.feed.see("DELETED", obj)
    assert s.woken() == set()
    (event,) = (o for (kind, _, _), o in s.api.objects.items() if kind == "Event")
    assert all(word in event["message"] for word in ("results that it committed", "sha256:m", "s3://b/report"))


@pytest.mark.parametrize("seed", range(30))
async def test_in_any_order_of_events_reads_are_never_older_than_own_writes_and_right_in_the_end(seed: int) -> None:
    """Events come late, those of one object in order, those of others mixed, some of them never; lists mend that."""
    chance = random.Random(seed)
    s = await Setting().primed()
    late: dict[str, list[tuple[str, Object]]] = {}
    store = s.api._store

    def tell(kind: str, obj: Object) -> None:
        late.setdefault(obj["metadata"]["uid"], []).append((kind, obj))

    def stored(key: Any, obj: Object) -> None:
        store(key, obj)
        if obj["kind"] == "FlywheelRound":
            tell("MODIFIED", {**obj, "metadata": dict(obj["metadata"])})

    s.api._store = stored  # type: ignore[method-assign]
    written: dict[str, int] = {}
    for _ in range(150):
        name = chance.choice("abc")
        known = s.api.objects.get(("FlywheelRound", NS, name))
        act = chance.random()
        if act < 0.2 and known is None:
            s.api.seed(a_round(name, f"uid-{chance.random()}"))
            written.pop(name, None)
        elif act < 0.35 and known is not None:
            s.api.remove("FlywheelRound", NS, name)
            version = str(next(s.api._versions))
            tell("DELETED", {**known, "metadata": known["metadata"] | {"resourceVersion": version}})
            written.pop(name, None)
        elif act < 0.5 and known is not None:
            s.api.update("FlywheelRound", NS, name, status={"n": chance.random()})
        elif act < 0.7:
            seen = await s.kube.get(ROUNDS, NS, name)
            try:
                if seen is not None:
                    answer = await s.kube.patch_status(seen, {"n": chance.random()})
                    written[name] = int(answer["metadata"]["resourceVersion"])
            except (Conflict, NotFound):
                pass
        elif act < 0.72:
            await s.feed.resync()
        elif late:
            uid = chance.choice(list(late))
            event, obj = late[uid].pop(0)
            if chance.random() < 0.9:
                await s.feed.see(event, obj)
            if not late[uid]:
                del late[uid]
        for name, version in written.items():
            found = await s.kube.get(ROUNDS, NS, name)
            assert found is not None and int(found["metadata"]["resourceVersion"]) >= version
    for events in late.values():
        for event, obj in events:
            await s.feed.see(event, obj)
    await s.feed.resync()
    truth = {n: o["metadata"]["resourceVersion"] for (k, _, n), o in s.api.objects.items() if k == "FlywheelRound"}
    assert {o["metadata"]["name"]: o["metadata"]["resourceVersion"] for o in s.kube.cache.list(ROUNDS, NS)} == truth
