"""The operator's face of the store: its fake answers as the real one does, and no server can hold it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from contract.drip import Drip, dripping
from contract.servers import SECRET, S3Server
from flywheel_api.conditions import Reason
from flywheel_operator.observe.stores import probe
from flywheel_operator.ports.objects import ObjectStore, StoreProblem
from flywheel_operator.ports.store import S3Store, connector
from flywheel_operator.ports.store_fake import FakeStore
from flywheel_store.memory import memory_settings


@pytest.fixture(params=["fake", "real"])
def store(request: pytest.FixtureRequest, s3: S3Server) -> ObjectStore:
    return FakeStore() if request.param == "fake" else S3Store(s3.settings(f"op-{uuid.uuid4().hex[:8]}"))


@pytest.fixture
def drip() -> Iterator[Drip]:
    with dripping() as server:
        yield server


async def test_absent_keys_are_none(store: ObjectStore) -> None:
    assert await store.get("no/such.json") is None
    assert await store.size("no/such.json") is None
    assert await store.keys("no/") == []
    assert await store.get(f"s3://{store.settings.bucket}/no/such.json") is None
    await store.remove("no/such.json")


async def test_a_create_only_write_happens_once(store: ObjectStore) -> None:
    assert await store.put_new("runs/x/claim.json", b"one")
    assert not await store.put_new("runs/x/claim.json", b"two")
    assert await store.get("runs/x/claim.json") == b"one"
    assert await store.size("runs/x/claim.json") == 3
    assert await store.keys("runs/x/") == ["runs/x/claim.json"]
    assert await store.get(store.settings.uri("runs/x/claim.json")) == b"one"
    await store.remove("runs/x/claim.json")
    assert await store.get("runs/x/claim.json") is None


async def test_the_probe_passes_and_leaves_nothing(store: ObjectStore) -> None:
    await probe(store)
    assert await store.keys("probes/") == []


async def test_the_probe_finds_a_server_that_ignores_conditions() -> None:
    with pytest.raises(StoreProblem) as caught:
        await probe(FakeStore(conditional=False))
    assert caught.value.reason is Reason.STORE_NOT_CONDITIONAL


async def test_problems_name_the_fix_and_no_secret(s3: S3Server) -> None:
    cases = [
        ({"bucket": "no-such-bucket"}, Reason.BUCKET_NOT_FOUND),
        ({"secret_key": "wrong-secret-of-the-store"}, Reason.STORE_DENIED),
        ({"endpoint": "127.0.0.1:9"}, Reason.STORE_UNREACHABLE),
    ]
    for changes, reason in cases:
        if s3.name == "moto" and reason is Reason.STORE_DENIED:
            continue  # it checks no signature
        with pytest.raises(StoreProblem) as caught:
            await probe(S3Store(replace(s3.settings("op"), **changes), timeout=2.0))  # type: ignore[arg-type]
        assert caught.value.reason is reason, (changes, str(caught.value))
        assert SECRET not in str(caught.value) and "wrong-secret" not in str(caught.value)


async def test_whatever_a_call_raises_is_a_problem() -> None:
    store = S3Store(memory_settings())
    store._bucket = None  # type: ignore[assignment]
    with pytest.raises(StoreProblem, match="failed: AttributeError"):
        await store.get("x")


@pytest.mark.parametrize("place", ["head", "body", "listing"])
async def test_a_server_that_drips_is_timed_out(drip: Drip, place: str) -> None:
    drip.place = place
    store = S3Store(replace(memory_settings(), endpoint=drip.endpoint), timeout=1.0)
    began = time.monotonic()
    with pytest.raises(StoreProblem) as caught:
        await (store.keys("x") if place == "listing" else store.get("x"))
    assert caught.value.reason is Reason.STORE_UNREACHABLE
    assert time.monotonic() - began < 5.0


async def test_a_slow_store_holds_nobody_else(drip: Drip, minio: S3Server) -> None:
    """Calls to a store of another tenant go on beside any number of calls that hang."""
    slow = S3Store(replace(memory_settings(), endpoint=drip.endpoint), timeout=4.0)
    good = S3Store(minio.settings(f"op-{uuid.uuid4().hex[:8]}"))
    hanging = [asyncio.create_task(slow.get(f"{n}")) for n in range(40)]
    await asyncio.sleep(0.3)
    began = time.monotonic()
    for _ in range(5):
        assert await good.get("x") is None
    assert time.monotonic() - began < 3.0
    found = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(one, StoreProblem) for one in found)


async def test_a_slow_store_is_asked_by_one_caller_at_a_time(drip: Drip) -> None:
    store = S3Store(replace(memory_settings(), endpoint=drip.endpoint), timeout=0.8)
    with pytest.raises(StoreProblem, match="no answer") as first:
        await store.get("x")
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(StoreProblem) as again:
            await store.get("x")
        assert str(again.value) == str(first.value), "a condition that says the same is not written again"
    assert time.monotonic() - began < 0.8
    asked = drip.requests
    await asyncio.sleep(1.7)
    await asyncio.gather(*(store.get(f"{n}") for n in range(10)), return_exceptions=True)
    assert drip.requests == asked + 1
    drip.place = ""
    await asyncio.sleep(1.7)
    assert await store.get("x") == b"well"
    assert await asyncio.gather(*(store.get("x") for _ in range(10))) == [b"well"] * 10


def test_a_store_is_made_once_for_all_who_have_the_same_settings() -> None:
    """What was learnt about a slow store must not be forgotten with an entry of a Secret."""
    stores, settings = connector(1.0), memory_settings()
    assert stores(settings) is stores(replace(settings))
    assert stores(replace(settings, prefix="other")) is not stores(settings)
