"""What servers, proxies and lines do to single requests, played before real servers.

Nothing false is recorded, no byte goes twice without need, and what passes is waited for.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contract.relay import Fault, Relay, big_file, relayed, says
from contract.servers import S3Server
from contract.test_store import COMMIT, OWNER, manifest
from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry
from flywheel_api.causes import Cause
from flywheel_api.conditions import Reason
from flywheel_jobs.core.errors import CorruptArtifact, HeadLost
from flywheel_jobs.harness.attempt import Attempt
from flywheel_jobs.storage.store import Store
from flywheel_operator.observe.attempts import Results
from flywheel_operator.observe.stores import probe
from flywheel_operator.ports import store as operator_store
from flywheel_operator.ports.store import S3Store
from flywheel_store.bucket import S3Bucket
from flywheel_store.connection import Limits
from flywheel_store.errors import StoreProblem, StoreUnavailable
from flywheel_store.upload import PART_SIZE

SIZE = PART_SIZE + (1 << 20)
HTML = b"<html><body>Please sign in</body></html>"


@pytest.fixture
def relay(s3: S3Server) -> Iterator[Relay]:
    with relayed(s3) as made:
        yield made


@pytest.fixture
def minio_relay(minio: S3Server) -> Iterator[Relay]:
    with relayed(minio) as made:
        yield made


def bucket(relay: Relay, prefix: str, **limits: Any) -> S3Bucket:
    return S3Bucket(relay.s3.settings(prefix), Limits(**{"patience": 5.0, **limits}))


# ---- the end of an upload in parts -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "fault",
    [
        says(200, "InternalError", "POST", "uploadId="),
        Fault("POST", "uploadId=", 504),
        Fault("POST", "uploadId=", reset=True),
        Fault("POST", "uploadId=", body=HTML, kind="text/html"),
        says(404, "NoSuchUpload", "PUT", "partNumber=2"),
        says(500, "InternalError", "PUT", "partNumber=1"),
        Fault("PUT", "partNumber=2", reset=True),
        Fault("PUT", "partNumber=2", body=HTML, kind="text/html", headers={"ETag": None}, lands=False, status=200),
    ],
    ids=["200 with an error", "504 after it landed", "reset after it landed", "a page", "upload gone at a part",
         "part refused", "part's answer lost", "page for a part"],
)  # fmt: skip
def test_a_manifest_never_names_what_is_not_there(relay: Relay, tmp_path: Path, fault: Fault) -> None:
    store = Store(bucket(relay, f"end-{os.urandom(3).hex()}"))
    relay.faults = [Fault(**vars(fault))]
    sha, size = store.put_blob_file(big_file(tmp_path / "big", SIZE))
    done = store.commit(manifest([FileEntry(path="x", sha256=sha, size=size)]), COMMIT)
    assert done.won and relay.server.bucket(store.settings.prefix).size(artifacts.blob_key(sha)) == SIZE
    if fault.code != "NoSuchUpload":
        assert relay.sent < SIZE + 2 * PART_SIZE, "only what was lost is sent again"


def test_a_blob_that_went_away_is_not_committed(relay: Relay, tmp_path: Path) -> None:
    store = Store(bucket(relay, "away"))
    sha, size = store.put_blob(b"here")
    store.delete(artifacts.blob_key(sha))
    with pytest.raises(CorruptArtifact, match="not in the store"):
        store.commit(manifest([FileEntry(path="x", sha256=sha, size=size)]), COMMIT)


# ---- create-only writes ----------------------------------------------------------------------------------------------
CONFLICT = "ConditionalRequestConflict"


@pytest.mark.parametrize(
    "faults",
    [
        [says(409, CONFLICT, "PUT")],
        [says(409, CONFLICT, "PUT"), says(503, "SlowDown", "PUT")],
        [says(503, "SlowDown", "PUT"), says(409, CONFLICT, "PUT")],
        [Fault("PUT", reset=True)],
        [Fault("PUT", status=504)],
        [says(504, "", "PUT"), says(412, "PreconditionFailed", "PUT")],
        [Fault("PUT", reset=True, lands=False), says(412, "PreconditionFailed", "PUT")],
    ],
    ids=["409", "409, 503", "503, 409", "answer lost", "504 after it landed", "504, 412 on a free key", "reset, 412"],
)
def test_a_free_key_is_taken_whatever_is_answered_once(relay: Relay, faults: list[Fault]) -> None:
    store = Store(bucket(relay, f"free-{os.urandom(3).hex()}"))
    relay.faults = [Fault(**vars(f)) for f in faults]
    Attempt(store, OWNER, "Prepare", 1, "sha256:" + "c" * 64).claim()
    with pytest.raises(HeadLost):
        Attempt(store, OWNER, "Prepare", 1, "sha256:" + "c" * 64).claim()


def test_a_key_that_another_holds_is_not_taken_after_doubt(relay: Relay) -> None:
    mine, theirs = bucket(relay, "doubt"), relay.server.bucket("doubt")
    assert theirs.put_new("k", b"theirs")
    relay.faults = [Fault("PUT", reset=True, lands=False)]
    assert not mine.put_new("k", b"mine")


# ---- what is read back -----------------------------------------------------------------------------------------------
DATA = b"0123456789" * 30000
DAMAGE = {
    "short": Fault("GET", "blobs/", change=lambda data: data[: len(data) // 2]),
    "flipped": Fault("GET", "blobs/", change=lambda data: b"X" + data[1:]),
    "page": Fault("GET", "blobs/", body=HTML, kind="text/html"),
    "empty": Fault("GET", "blobs/", body=b""),
    "torn": Fault("GET", "blobs/", cut=90000),
    "reset": Fault("GET", "blobs/", reset=True),
    "gzip": Fault("GET", "blobs/", change=gzip.compress, headers={"Content-Encoding": "gzip"}),
    "502": says(502, "", "GET", "blobs/", body=HTML, kind="text/html"),
    "403": says(403, "", "GET", "blobs/", body=HTML, kind="text/html"),
    "404": says(404, "", "GET", "blobs/", body=HTML, kind="text/html"),
}


@pytest.mark.parametrize("fault", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_answer_is_read_again(minio_relay: Relay, tmp_path: Path, fault: Fault) -> None:
    store = Store(bucket(minio_relay, f"read-{os.urandom(3).hex()}"))
    sha, size = store.put_blob(DATA)
    minio_relay.faults = [Fault(**vars(fault))]
    assert store.get_blob(sha) == DATA
    minio_relay.faults = [Fault(**vars(fault))]
    assert store.fetch_blob(sha, tmp_path / "x") == size
    assert store.list_keys("damaged/") == []


@pytest.mark.parametrize("kind", ["short", "flipped", "page", "empty", "404"])
def test_a_damaged_manifest_is_read_again(minio_relay: Relay, kind: str) -> None:
    store = Store(bucket(minio_relay, f"manifest-{kind}"))
    made = manifest([])
    store.commit(made, COMMIT)
    for part, read in (
        ("manifests/", lambda: store.get_manifest(made.digest)),
        ("results/", lambda: store.manifest_at(COMMIT)),
        ("results/", lambda: store.get_json(COMMIT)),
    ):
        minio_relay.faults = [Fault(**{**vars(DAMAGE[kind]), "part": part})]
        assert read() in (made, made.dump())


@pytest.mark.parametrize("kind", ["short", "flipped", "page", "empty"])
async def test_the_operator_judges_no_single_reading(minio_relay: Relay, kind: str) -> None:
    made, prefix = manifest([]), f"judged-{kind}"
    minio_relay.server.store(prefix).commit(made, COMMIT)
    store, results = S3Store(minio_relay.s3.settings(prefix)), Results(0.0)
    for part in ("results/", "manifests/"):
        minio_relay.faults = [Fault(**{**vars(DAMAGE[kind]), "part": part})]
        if part == "results/":
            found = await results.result(store, "n", made.content_key, made.stage)
            assert (found.manifest, found.problem, found.digest) == (made, None, made.digest)
        else:
            assert await results.manifest(store, made.digest) == made
    minio_relay.faults = [Fault("GET", "results/", body=b"{}", times=9)]
    assert (await results.result(store, "n", made.content_key, made.stage)).problem is not None, "twice the same"


def test_equal_wrong_bytes_condemn_and_the_next_writer_mends(minio: S3Server) -> None:
    store = minio.store("condemned")
    sha, _ = store.put_blob(DATA)
    store.bucket.put(artifacts.blob_key(sha), b"X" + DATA[1:])
    with pytest.raises(CorruptArtifact) as caught:
        store.get_blob(sha)
    assert "delete" not in str(caught.value), "the copy may be good and the line bad"
    minio.store("condemned").put_blob(DATA)
    assert store.get_blob(sha) == DATA and store.list_keys("damaged/") == []


def test_a_line_that_damages_everything_condemns_nothing(minio_relay: Relay) -> None:
    store = Store(bucket(minio_relay, "noise"))
    sha, _ = store.put_blob(DATA)
    minio_relay.faults = [Fault("GET", "blobs/", change=lambda data: os.urandom(8) + data[8:], times=9)]
    with pytest.raises(StoreUnavailable, match="something in between damages them"):
        store.get_blob(sha)
    assert store.list_keys("damaged/") == []


def test_a_torn_download_goes_on_where_it_broke(relay: Relay, tmp_path: Path) -> None:
    store = Store(bucket(relay, "torn"))
    data = os.urandom(3 << 20)
    sha, _ = store.put_blob(data)
    given: list[int] = []
    relay.faults = [Fault("GET", "blobs/", cut=1 << 20, times=2, change=lambda d: given.append(len(d)) or d)]  # type: ignore[func-returns-value]
    assert store.fetch_blob(sha, tmp_path / "x") == len(data)
    assert given[0] == len(data) and given[1] < 2.3 * (1 << 20), "the second answer is what was missing"


def test_a_size_that_a_proxy_took_away_is_asked_otherwise(relay: Relay) -> None:
    store = Store(bucket(relay, "sizes"))
    sha, size = store.put_blob(b"x" * 300)
    relay.faults = [Fault("HEAD", headers={"Content-Length": None}, times=9)]
    assert store.has_blob(sha, size) and not store.has_blob(sha, size + 1)


@pytest.mark.parametrize("kind", ["text/xml", "text/html", "application/octet-stream", "application/xml;charset=UTF-8"])
def test_an_answer_goes_by_its_status_not_its_type(minio_relay: Relay, kind: str) -> None:
    mine = bucket(minio_relay, "types", patience=0.5)
    minio_relay.faults = [Fault(headers={"Content-Type": kind}, times=99)]
    assert mine.get("none") is None and mine.size("none") is None
    assert mine.put_new(f"k-{kind[:6]}{len(kind)}", b"1") and not mine.put_new(f"k-{kind[:6]}{len(kind)}", b"2")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_missing_key_is_missing_where_403_stands_for_404(
    minio_relay: Relay, minio: S3Server, elsewhere: bool
) -> None:
    """S3 tells 404 from 403 by ListBucket, which a policy for a prefix may grant for listings only."""
    mine, at = bucket(minio_relay, "hidden", patience=0.1), ""
    if elsewhere:  # what is under the same keys in our own bucket says nothing
        minio.client().make_bucket(name := f"theirs-{uuid.uuid4().hex[:8]}")
        mine.elsewhere(name, "hidden").put("there", b"1")
        mine.put("none", b"1")
        at = f"s3://{name}/hidden/"
    else:
        mine.put("there", b"1")
        mine.remove("none")
    minio_relay.faults = [says(403, "AccessDenied", "GET", "/hidden/", times=99), says(403, "", "HEAD", times=99)]
    assert mine.get(f"{at}none") is None and mine.size(f"{at}none") is None
    for call in (mine.get, mine.size):
        with pytest.raises(StoreProblem, match="s3:GetObject"):
            call(f"{at}there")


# ---- listings --------------------------------------------------------------------------------------------------------
PAGE = b"<ListBucketResult><IsTruncated>%s</IsTruncated>%s</ListBucketResult>"
ITEM = (
    b"<Contents><Key>lists/a</Key><LastModified>2026-01-01T00:00:00.123456789Z</LastModified><Size>1</Size></Contents>"
)


def test_a_listing_without_end_is_given_up(minio_relay: Relay) -> None:
    more = b"<NextContinuationToken>t</NextContinuationToken>"
    for page in (PAGE % (b"true", ITEM), PAGE % (b"true", ITEM + more)):
        minio_relay.faults = [Fault("GET", "list-type", 200, body=page, times=99)]
        with pytest.raises(StoreProblem, match="without end"):
            bucket(minio_relay, "lists").keys("")


def test_a_listing_reads_keys_only(minio_relay: Relay) -> None:
    minio_relay.faults = [Fault("GET", "list-type", 200, body=PAGE % (b"false", ITEM))]
    assert bucket(minio_relay, "lists").keys("") == ["a"]


def test_more_keys_than_a_page_and_odd_names(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = s3.bucket("my data+ü/a b")
    names = [f"x/{n:04}" for n in range(70)] + ["y/a b+c%20d~é"]
    page = mine._page
    monkeypatch.setattr(mine, "_page", lambda *at: page(*at, **{"max-keys": "20"}))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: mine.put(name, b""), names))
    assert mine.keys("") == sorted(names)
    assert mine.get("y/a b+c%20d~é") == b""


# ---- slow lines ------------------------------------------------------------------------------------------------------
def test_a_stall_in_a_part_costs_nothing_but_its_time(minio_relay: Relay, tmp_path: Path) -> None:
    """The old limit was five seconds for a whole part; here the line rests for longer than any old limit would."""
    mine = bucket(minio_relay, "stall", connect=0.3, silence=10.0)
    minio_relay.faults = [Fault("PUT", "partNumber=1", stall=1.0)]
    mine.put_file("x", big_file(tmp_path / "x", SIZE))
    assert minio_relay.sent < SIZE + 4096 and mine.size("x") == SIZE


def test_bytes_that_travel_again_are_no_progress(minio_relay: Relay, tmp_path: Path) -> None:
    """Else an upload that never ends would be alive for ever."""
    told: list[int] = []
    mine = S3Bucket(minio_relay.s3.settings("again"), Limits(patience=5.0), told.append)
    minio_relay.faults = [Fault("PUT", "partNumber=2", reset=True, times=2)]
    mine.put_file("x", big_file(tmp_path / "x", SIZE))
    assert minio_relay.sent > SIZE + 2 * (SIZE - PART_SIZE) and sum(told) == SIZE
    minio_relay.faults = [Fault("GET", "/again/x", cut=1 << 20, times=2)]
    mine.read("x", lambda chunks: sum(map(len, chunks)))
    assert sum(told) == 2 * SIZE


def test_a_line_that_is_slower_than_any_limit_for_a_part(minio_relay: Relay, tmp_path: Path) -> None:
    minio_relay.rate = 6 << 20
    told: list[int] = []
    mine = S3Bucket(minio_relay.s3.settings("slow"), Limits(connect=0.3, silence=0.6, patience=2.0), told.append)
    began = time.monotonic()
    mine.put_file("x", big_file(tmp_path / "x", SIZE))
    assert time.monotonic() - began > 2.0 and mine.size("x") == SIZE
    assert minio_relay.sent < SIZE + 4096, "no byte went twice"
    assert sum(told) == SIZE and len(told) > 100


def test_a_silent_server_is_given_up(minio_relay: Relay, tmp_path: Path) -> None:
    mine = bucket(minio_relay, "silent", silence=0.3, patience=0.5)
    minio_relay.faults = [Fault("PUT", stall=5.0, times=9)]
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        mine.put_file("x", big_file(tmp_path / "x", 8 << 20))
    assert time.monotonic() - began < 4


# ---- the probe -------------------------------------------------------------------------------------------------------
async def test_the_probe_passes_in_bad_weather(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_store, "_PATIENCE", 5.0)  # a busy machine is no trouble of the store
    relay.faults = [says(503, "SlowDown"), says(409, CONFLICT, "PUT"), Fault("PUT", reset=True)]
    await probe(S3Store(relay.s3.settings("probed")))
    assert relay.server.bucket("probed").keys("") == []


async def test_the_probe_refuses_a_proxy_that_drops_the_condition(relay: Relay) -> None:
    relay.drops = ("if-none-match",)
    with pytest.raises(StoreProblem, match="ignores If-None-Match") as caught:
        await probe(S3Store(relay.s3.settings("probed")))
    assert caught.value.reason is Reason.STORE_NOT_CONDITIONAL


async def test_the_probe_refuses_a_server_that_lets_two_of_eight_win(minio_relay: Relay) -> None:
    """Each alone is refused rightly: only writers at the same time show it."""
    minio_relay.forgives = 2
    with pytest.raises(StoreProblem, match="lets 2 of 8 writers") as caught:
        await probe(S3Store(minio_relay.s3.settings("raced")))
    assert caught.value.reason is Reason.STORE_NOT_CONDITIONAL
    assert minio_relay.server.bucket("raced").keys("") == []


# ---- the line up -----------------------------------------------------------------------------------------------------
def test_what_is_damaged_on_the_way_up_is_refused_and_sent_again(relay: Relay, tmp_path: Path) -> None:
    relay.spoils = 1
    mine = bucket(relay, "up")
    mine.put("small", DATA)
    relay.spoils = 1
    path = big_file(tmp_path / "x", SIZE)
    mine.put_file("x", path)
    if relay.server.name != "moto":  # it compares nothing
        assert mine.get("small") == DATA
        there = mine.read("x", lambda chunks: hashlib.sha256(b"".join(chunks)).hexdigest())
        assert there == hashlib.sha256(path.read_bytes()).hexdigest()


CRC32_HEADERS = ("x-amz-checksum-algorithm", "x-amz-checksum-crc32")


def test_parts_go_with_crc32_where_the_server_compares_it_and_it_is_asked_once(relay: Relay, tmp_path: Path) -> None:
    mine = bucket(relay, "crc")
    assert mine.exists()  # its region is known from here on
    for name in ("x", "y"):
        mine.put_file(name, big_file(tmp_path / name, SIZE))
    begun = sum(method == "POST" and path.endswith("uploads=") for method, path in relay.seen)
    if relay.server.name == "moto":
        assert relay.checks == {"content-md5"} and begun == 3
    else:
        assert relay.checks == {"x-amz-checksum-crc32"} and begun == 2
    asked = sum(method == "PUT" and "partNumber=1&" in path for method, path in relay.seen)
    assert asked - 2 == (1 if relay.server.name == "moto" else 2)


def test_where_crc32_goes_unheard_parts_go_with_md5_and_are_compared(relay: Relay, tmp_path: Path) -> None:
    relay.drops = CRC32_HEADERS
    mine, path = bucket(relay, "md5"), big_file(tmp_path / "x", SIZE)
    relay.spoils = 1
    mine.put_file("x", path)
    assert relay.checks == {"content-md5"}
    if relay.server.name != "moto":  # it compares nothing
        there = mine.get("x")
        assert there is not None and hashlib.sha256(there).digest() == hashlib.sha256(path.read_bytes()).digest()


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (says(501, "NotImplemented", "POST", "uploads="), "content-md5"),
        (says(400, "InvalidArgument", "POST", "uploads="), "content-md5"),
        # refused for another reason: nothing is known of comparing
        (says(400, "InvalidRequest", "PUT", "partNumber=1&"), "content-md5"),
        (says(400, "RequestTimeout", "PUT", "partNumber=1&"), "content-md5"),
        # refuses right ones too
        (says(400, "BadDigest", "PUT", "partNumber=1&", times=2), "content-md5"),
        (says(503, "SlowDown", "PUT", "partNumber=1&"), "x-amz-checksum-crc32"),
        (says(500, "InternalError", "POST", "uploads="), "x-amz-checksum-crc32"),
    ],
)
def test_crc32_is_used_only_by_proof(minio_relay: Relay, tmp_path: Path, fault: Fault, check: str) -> None:
    minio_relay.faults = [fault]
    mine, path = bucket(minio_relay, "proof"), big_file(tmp_path / "x", SIZE)
    mine.put_file("x", path)
    assert minio_relay.checks == {check} and mine.size("x") == SIZE
    left = list(minio_relay.server.client()._list_multipart_uploads("flywheel", prefix="proof/x").uploads)
    assert not left, "an upload that was begun in vain is aborted"


# ---- what an operator and a job say ---------------------------------------------------------------------------------
TOLD: list[tuple[Fault, Reason, Cause, str]] = [
    (says(507, "XMinioStorageFull"), Reason.STORE_FULL, Cause.INFRA, "is full"),
    (says(507, "InsufficientStorage"), Reason.STORE_FULL, Cause.INFRA, "is full"),
    (says(403, "QuotaExceeded"), Reason.STORE_FULL, Cause.INFRA, "quota of bucket"),
    (says(400, "XMinioAdminBucketQuotaExceeded"), Reason.STORE_FULL, Cause.INFRA, "quota of bucket"),
    (says(400, "ExpiredToken"), Reason.STORE_DENIED, Cause.INFRA, "have expired"),
    (says(403, "InvalidToken"), Reason.STORE_DENIED, Cause.INFRA, "have expired"),
    (says(403, "InvalidAccessKeyId"), Reason.STORE_DENIED, Cause.INFRA, "check accessKey and secretKey"),
    (says(403, "AccessDenied"), Reason.STORE_DENIED, Cause.INFRA, "s3:PutObject"),
    (says(403, "RequestTimeTooSkewed"), Reason.STORE_DENIED, Cause.INFRA, "clock"),
    (says(403, "", headers={"Date": "Thu, 26 Nov 2020 10:00:00 GMT"}), Reason.STORE_DENIED, Cause.INFRA, "clock"),
    (says(503, "SlowDown"), Reason.STORE_BUSY, Cause.INFRA, "fewer requests"),
    (says(509, "BandwidthLimitExceeded"), Reason.STORE_BUSY, Cause.INFRA, "fewer requests"),
    (says(429, "TooManyRequests", kind="text/plain"), Reason.STORE_BUSY, Cause.INFRA, "fewer requests"),
    (says(503, "", kind="text/html"), Reason.STORE_BUSY, Cause.INFRA, "answers HTTP 503"),
    (says(403, "TransactionCapExceeded"), Reason.STORE_FULL, Cause.INFRA, "quota of bucket"),
    (says(403, "UserSuspended"), Reason.STORE_DENIED, Cause.INFRA, "account"),
    (says(403, "InvalidObjectState"), Reason.STORE_REFUSED, Cause.APP, "archive"),
    (says(301, "", headers={"x-amz-bucket-region": "eu-x-9"}), Reason.SECRET_KEY_INVALID, Cause.VALIDATION, "'eu-x-9'"),
    (says(400, "RequestTimeout"), Reason.STORE_BUSY, Cause.INFRA, "RequestTimeout"),
    (says(501, "NotImplemented"), Reason.STORE_REFUSED, Cause.APP, "NotImplemented"),
    (says(301, "PermanentRedirect"), Reason.SECRET_KEY_INVALID, Cause.VALIDATION, "write that into region"),
    (says(302, "", headers={"Location": "https://s3.example.org/k?X-Amz-Signature=canary"}),
     Reason.SECRET_KEY_INVALID, Cause.VALIDATION, "redirects to https://s3.example.org,"),
    (says(308, "", headers={"Location": "http://s3:81/"}), Reason.SECRET_KEY_INVALID, Cause.VALIDATION, "http://s3:81"),
    (says(404, "NoSuchBucket"), Reason.BUCKET_NOT_FOUND, Cause.VALIDATION, "create it"),
    (says(400, "", body=b"Client sent an HTTP request to an HTTPS server.\n", kind="text/plain"),
     Reason.STORE_UNREACHABLE, Cause.INFRA, "write https://"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "reason", "cause", "words"), TOLD, ids=[f"{t[0].status} {t[0].code}" for t in TOLD])
async def test_each_class_has_its_sentence_for_both_halves(
    minio_relay: Relay, fault: Fault, reason: Reason, cause: Cause, words: str
) -> None:
    minio_relay.faults = [Fault(**{**vars(fault), "times": 999})]
    settings = minio_relay.s3.settings("told")
    quick = Limits(patience=0.05)
    calls: list[Callable[[], object]] = [lambda: S3Bucket(settings, quick).put("x", b"x"),
                                         lambda: S3Bucket(settings, quick).put_new("x", b"x")]  # fmt: skip
    said = set()
    for call in calls:
        with pytest.raises(StoreProblem, match=words) as caught:
            call()
        assert (caught.value.reason, caught.value.cause) == (reason, cause)
        said.add(str(caught.value))
    with pytest.raises(StoreProblem) as seen:
        await S3Store(settings).put_new("x", b"x")
    assert said == {str(seen.value)} and "canary" not in str(seen.value)


PASSING = [f for f, _, cause, _ in TOLD if cause is Cause.INFRA and f.kind != "text/plain"]


@pytest.mark.parametrize("fault", PASSING, ids=lambda f: f"{f.status} {f.code}")
def test_what_may_pass_is_waited_for(minio_relay: Relay, fault: Fault) -> None:
    minio_relay.faults = [Fault(**vars(fault))]
    bucket(minio_relay, "passing").put("x", b"x")
