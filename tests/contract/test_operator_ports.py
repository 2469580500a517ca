"""The operator's ports: the fakes answer as the real ones do."""

from __future__ import annotations

import uuid

import pytest

from contract.servers import ACCESS, BUCKET, SECRET, S3Server
from flywheel_api.conditions import Reason
from flywheel_operator.observe.stores import probe
from flywheel_operator.ports.objects import ObjectStore, StoreProblem, StoreSettings
from flywheel_operator.ports.store import S3Store
from flywheel_operator.ports.store_fake import FakeStore


def settings(server: S3Server, **changes: object) -> StoreSettings:
    values = {
        "endpoint": server.endpoint.removeprefix("http://"),
        "secure": False,
        "bucket": BUCKET,
        "prefix": f"op-{uuid.uuid4().hex[:8]}",
        "region": "us-east-1",
        "access_key": ACCESS,
        "secret_key": SECRET,
    }
    return StoreSettings(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(params=["fake", "real"])
def store(request: pytest.FixtureRequest, s3: S3Server) -> ObjectStore:
    return FakeStore() if request.param == "fake" else S3Store(settings(s3))


async def test_absent_keys_are_none(store: ObjectStore) -> None:
    assert await store.get("no/such.json") is None
    assert await store.size("no/such.json") is None
    assert await store.keys("no/") == []
    assert await store.get_uri(f"s3://{store.settings.bucket}/no/such.json") is None
    await store.remove("no/such.json")


async def test_a_create_only_write_happens_once(store: ObjectStore) -> None:
    assert await store.put_new("runs/x/claim.json", b"one")
    assert not await store.put_new("runs/x/claim.json", b"two")
    assert await store.get("runs/x/claim.json") == b"one"
    assert await store.size("runs/x/claim.json") == 3
    assert await store.keys("runs/x/") == ["runs/x/claim.json"]
    assert await store.get_uri(store.settings.uri("runs/x/claim.json")) == b"one"
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
        with pytest.raises(StoreProblem) as caught:
            await probe(S3Store(settings(s3, **changes), timeout=2.0))
        assert caught.value.reason is reason, (changes, str(caught.value))
        assert SECRET not in str(caught.value) and "wrong-secret" not in str(caught.value)
