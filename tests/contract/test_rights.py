"""Buckets as companies run them: keys with the policy that docs/store.md prints, versions, locks, quotas."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from minio.commonconfig import ENABLED
from minio.credentials import StaticProvider
from minio.minioadmin import MinioAdmin
from minio.objectlockconfig import COMPLIANCE, DAYS, ObjectLockConfig
from minio.versioningconfig import VersioningConfig

from contract.relay import big_file
from contract.servers import ACCESS, SECRET, S3Server
from contract.test_store import COMMIT, manifest
from flywheel_api.artifacts import FileEntry
from flywheel_api.conditions import Reason
from flywheel_jobs.storage.store import Store
from flywheel_operator.observe.stores import probe
from flywheel_operator.ports.store import S3Store
from flywheel_store.bucket import S3Bucket
from flywheel_store.connection import Limits
from flywheel_store.errors import StoreProblem
from flywheel_store.settings import StoreSettings
from flywheel_store.upload import PART_SIZE

DOCS = Path(__file__).parents[2] / "docs" / "store.md"


class Users:
    """Users of a MinIO server, each with a policy of its own."""

    def __init__(self, server: S3Server) -> None:
        self.server = server
        host = server.endpoint.removeprefix("http://")
        keys = StaticProvider(ACCESS, SECRET)
        self.admin = MinioAdmin(endpoint=host, credentials=keys, region="us-east-1", secure=False)

    def settings(self, policy: str, prefix: str = "flywheel") -> StoreSettings:
        """A store as a new user with that policy sees it."""
        name = f"u-{uuid.uuid4().hex[:8]}"
        self.admin.user_add(name, "a-long-secret-of-a-user")
        self.admin.policy_add(name, policy=json.loads(policy))
        self.admin.attach_policy([name], user=name)
        return replace(self.server.settings(prefix), access_key=name, secret_key="a-long-secret-of-a-user")


def printed_policy() -> str:
    """What docs/store.md tells people to write."""
    found = re.search(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def users(minio: S3Server) -> Users:
    return Users(minio)


async def test_the_printed_policy_is_enough(users: Users, tmp_path: Path) -> None:
    settings = users.settings(printed_policy())
    await probe(S3Store(settings))
    store = Store(S3Bucket(settings, Limits(patience=0.2)))
    assert store.get_json("none.json") is None and not store.has_blob("0" * 64)
    sha, size = store.put_blob_file(big_file(tmp_path / "big", PART_SIZE + 5))
    assert store.commit(manifest([FileEntry(path="x", sha256=sha, size=size)]), COMMIT).won
    assert store.fetch_blob(sha, tmp_path / "back") == size and COMMIT in store.list_keys("results/")
    for key in store.list_keys(""):
        store.delete(key)
    assert store.list_keys("") == []


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"])
async def test_each_right_of_it_is_missed_by_its_name(users: Users, action: str) -> None:
    policy = json.loads(printed_policy())
    for statement in policy["Statement"]:
        statement["Action"] = [a for a in statement["Action"] if a != action]
    policy["Statement"] = [s for s in policy["Statement"] if s["Action"]]
    with pytest.raises(StoreProblem, match=rf"policy allows {action} in") as caught:
        await probe(S3Store(users.settings(json.dumps(policy))))
    assert caught.value.reason is Reason.STORE_DENIED


def test_keys_that_are_withdrawn_are_no_final_failure(users: Users) -> None:
    settings = users.settings(printed_policy())
    bucket = S3Bucket(settings, Limits(patience=0.1))
    bucket.put("x", b"1")
    users.admin.user_disable(settings.access_key)
    with pytest.raises(StoreProblem, match="check accessKey and secretKey") as caught:
        bucket.put("x", b"2")
    assert caught.value.cause.value == "Infra"


def test_a_quota_that_is_used_up_is_said(users: Users) -> None:
    client, name = users.server.client(), f"small-{uuid.uuid4().hex[:8]}"
    client.make_bucket(name)
    users.admin.bucket_quota_set(name, 1 << 20)
    bucket = S3Bucket(replace(users.server.settings(), bucket=name), Limits(patience=0.1))
    with pytest.raises(StoreProblem, match=f"quota of bucket '{name}' .* is used up") as caught:
        bucket.put("x", b"x" * (2 << 20))
    assert caught.value.reason is Reason.STORE_FULL


# ---- versions and locks ----------------------------------------------------------------------------------------------
@pytest.fixture(params=["minio", "versitygw"])
def versioned(request: pytest.FixtureRequest) -> Iterator[tuple[S3Server, StoreSettings]]:
    server: S3Server = request.getfixturevalue("servers")(request.param)
    name = f"versions-{uuid.uuid4().hex[:8]}"
    server.client().make_bucket(name)
    server.client().set_bucket_versioning(name, VersioningConfig(ENABLED))
    yield server, replace(server.settings(), bucket=name)


def stored(server: S3Server, bucket: str) -> list[str]:
    """Keys of all versions and delete markers."""
    wire = S3Bucket(replace(server.settings(), bucket=bucket))._wire
    return re.findall("<Key>(.*?)</Key>", wire.send("GET", bucket, query={"versions": ""}).data.decode())


async def test_what_is_deleted_is_freed_where_versions_are_kept(versioned: tuple[S3Server, StoreSettings]) -> None:
    server, settings = versioned
    bucket = S3Bucket(settings)
    for data in (b"1", b"2", b"3"):
        bucket.put("blob", data)
    bucket.put("blob-of-a-longer-name", b"stays")
    bucket.remove("blob")
    assert bucket.get("blob") is None
    assert stored(server, settings.bucket) == ["flywheel/blob-of-a-longer-name"]
    assert bucket.put_new("blob", b"again"), "a delete marker is no object"
    bucket.remove("blob")
    store = S3Store(settings)
    await probe(store)
    assert stored(server, settings.bucket) == ["flywheel/blob-of-a-longer-name"], "the probe leaves nothing either"
    assert store.unfreed == ""


async def test_the_printed_supplement_is_enough_for_versions(users: Users) -> None:
    """That less is not enough MinIO does not show: it takes the rights to objects for those to versions."""
    name = f"versions-{uuid.uuid4().hex[:8]}"
    users.server.client().make_bucket(name)
    users.server.client().set_bucket_versioning(name, VersioningConfig(ENABLED))
    policy = json.loads(printed_policy().replace("arn:aws:s3:::flywheel", f"arn:aws:s3:::{name}"))
    said = re.search(r"versions add\s+`(.*?)` to the first statement and `(.*?)` to the second", DOCS.read_text())
    assert said is not None
    for statement, action in zip(policy["Statement"], said.groups(), strict=True):
        statement["Action"].append(action)
    store = S3Store(replace(users.settings(json.dumps(policy)), bucket=name))
    await probe(store)
    assert store.unfreed == "" and stored(users.server, name) == []


async def test_a_bucket_with_a_lock_works_and_frees_nothing(minio: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    name = f"locked-{uuid.uuid4().hex[:8]}"
    minio.client().make_bucket(name, object_lock=True)
    minio.client().set_object_lock_config(name, ObjectLockConfig(COMPLIANCE, 1, DAYS))
    settings = replace(minio.settings(), bucket=name)
    store = S3Store(settings)
    await probe(store)
    assert "locks objects" in store.unfreed, "the probe has seen it before anything is stored"
    bucket = S3Bucket(settings)
    assert bucket.put_new("x", b"1")
    bucket.remove("x")
    assert bucket.get("x") is None and "flywheel/x" in stored(minio, name)
    assert "cannot be deleted" in caplog.text and "lifecycle rule" in caplog.text
