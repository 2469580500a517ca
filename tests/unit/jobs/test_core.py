"""Attempts, journal, retries and logs, without a server."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3
from minio.error import S3Error

from flywheel_api import artifacts
from flywheel_api.artifacts import Counts, Dropped, Failure, Owner, RoleUsage, ServedBy
from flywheel_api.causes import CAUSE_OF_EXIT, Cause, ExitCode
from flywheel_api.stages import PIPELINE, STAGE_CONFIG_ENV, STORE_ENV, Runs
from flywheel_jobs.core import errors
from flywheel_jobs.core.errors import HeadLost, StoreUnavailable, ValidationFailure
from flywheel_jobs.core.logging import REDACTED, Redactor
from flywheel_jobs.harness.attempt import Attempt, described
from flywheel_jobs.harness.context import check_counts
from flywheel_jobs.harness.journal import Item, Journal
from flywheel_jobs.harness.runner import load_config
from flywheel_jobs.stages.main import STAGES
from flywheel_jobs.storage import s3
from flywheel_jobs.storage.s3 import S3Settings, parse_endpoint
from flywheel_jobs.storage.store import json_bytes

OWNER = Owner(kind="RLJob", namespace="n", name="j", uid="u")


class Memory:
    """The few operations of a store that the modules under test use, in memory."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def put_json(self, key: str, value: Any) -> None:
        self.data[key] = json_bytes(value)

    def put_json_new(self, key: str, value: Any) -> bool:
        if key in self.data:
            return False
        self.put_json(key, value)
        return True

    def get_json(self, key: str) -> dict[str, Any] | None:
        return json.loads(self.data[key]) if key in self.data else None

    def list_keys(self, prefix: str) -> list[str]:
        return sorted(k for k in self.data if k.startswith(prefix))


def attempt(store: Memory) -> Attempt:
    return Attempt(store, OWNER, "Train", 1, "sha256:" + "0" * 64)  # type: ignore[arg-type]


def test_second_incarnation_of_an_attempt_stops() -> None:
    store = Memory()
    attempt(store).claim()
    with pytest.raises(HeadLost, match="already started") as lost:
        attempt(store).claim()
    assert described(lost.value)[1] == ExitCode.HEAD_LOST


def test_updated_at_moves_with_progress_only(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(f"2026-01-01T00:00:{i:02}Z" for i in range(60))
    monkeypatch.setattr("flywheel_jobs.harness.attempt.now", lambda: next(times))
    one = attempt(Memory())
    start = one.progress.updated_at
    one.update(waiting_for="Teacher")
    one.update(tokens_per_second=5.0)
    assert one.progress.updated_at == start
    one.update(done=1, text="1 of 2")
    moved = one.progress.updated_at
    assert moved > start
    one.update(done=1, text="1 of 2", waiting_for=None)
    assert one.progress.updated_at == moved


def test_heartbeat_writes_while_the_main_thread_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flywheel_jobs.harness.attempt.MIN_WRITE_SECONDS", 0.02)
    monkeypatch.setattr("flywheel_jobs.harness.attempt.HEARTBEAT_SECONDS", 0.05)
    store = Memory()
    one = attempt(store)
    one.start_heartbeat()
    one.update(done=3, total=4, text="working")
    time.sleep(0.3)
    key = artifacts.progress_key("u", "Train", 1)
    assert (store.get_json(key) or {})["done"] == 3
    one.update(done=4)
    one.stop_heartbeat()
    assert (store.get_json(key) or {})["done"] == 4


@pytest.mark.parametrize("kind", [k for k in vars(errors).values() if isinstance(k, type)
                                  and issubclass(k, errors.FlywheelError)])  # fmt: skip
def test_cause_and_exit_code_agree(kind: type[errors.FlywheelError]) -> None:
    assert CAUSE_OF_EXIT.get(kind.exit_code, Cause.APP) is kind.cause


def test_unknown_errors_are_app_failures_and_say_where() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        failure, code = described(error)
    assert (failure.cause, failure.reason, code) == (Cause.APP, "KeyError", 1) and "test_core.py" in failure.message


def test_failure_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-canary-1")
    store = Memory()
    code = attempt(store).fail(ValidationFailure("bad sk-canary-1 input: do this"))
    failure = Failure.model_validate(store.get_json(artifacts.failure_key("u", "Train", 1)))
    assert code == 64 and failure.cause is Cause.VALIDATION and failure.message == f"bad {REDACTED} input: do this"


KEY = "sha256:" + "0" * 64


def journal(store: Memory, uid: str = "u", number: int = 1, key: str = KEY) -> Journal:
    owner = OWNER.model_copy(update={"uid": uid})
    return Journal(store, owner, key, number)  # type: ignore[arg-type]


async def test_journal_survives_in_segments_and_others_take_it_over() -> None:
    store = Memory()
    one = journal(store)
    one.add(Item(phase="p", key="k1", result={"x": 1}))
    one.add(Item(phase="p", key="k2", dropped="bad"))
    usage = RoleUsage(role="Teacher", calls=2, prompt_tokens=10, completion_tokens=4, seconds=1.0)
    await one.flush([usage], [ServedBy(role="Teacher", model="m", standin=True)])
    await one.flush([], [])  # nothing new: nothing written
    assert len(store.data) == 1
    two = journal(store, number=2)
    two.load()
    two.load()
    assert two.items[("p", "k1")].result == {"x": 1} and two.items[("p", "k2")].dropped == "bad"
    assert two.usage["Teacher"] == usage and [s.standin for s in two.served_by.values()] == [True]
    assert one.tokens == two.tokens == {"Teacher": 14}, "a budget does not come back with an attempt"
    other = journal(store, uid="other")
    other.load()
    assert other.items == two.items and [s.standin for s in other.served_by.values()] == [True]
    assert other.taken_over == {"Teacher": usage} and other.tokens == {} == other.usage, "others have paid"
    await other.flush([RoleUsage(role="Teacher", calls=1, prompt_tokens=3)], [])
    two.load()
    assert other.tokens == {"Teacher": 3} and two.tokens == {"Teacher": 14}
    apart = journal(store, key="sha256:" + "1" * 64)
    apart.load()
    assert not apart.items and not apart.tokens and not apart.taken_over


async def test_a_segment_that_could_not_be_written_is_written_by_the_next_flush() -> None:
    store = Memory()
    one = journal(store)
    one.add(Item(phase="p", key="k1", result={}))
    real, store.put_json = store.put_json, lambda *_: (_ for _ in ()).throw(StoreUnavailable("gone"))  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await one.flush([RoleUsage(role="Teacher", calls=1)], [])
    assert not one.usage
    store.put_json = real  # type: ignore[method-assign]
    one.add(Item(phase="p", key="k2", result={}))
    await one.flush([RoleUsage(role="Teacher", calls=2)], [])
    two = journal(store)
    two.load()
    assert {k for _, k in two.items} == {"k1", "k2"} and two.usage["Teacher"].calls == 2


def s3_error(code: str, status: int) -> S3Error:
    response: Any = SimpleNamespace(status=status, headers={}, data=b"")
    return S3Error(response, code, code, None, None, None, bucket_name="b")


class Once:
    """A client whose first PUT lands but whose answer is lost."""

    def __init__(self, standing: bytes | None = None, lost: bool = True) -> None:
        self.standing, self.lost = standing, lost

    def _put_object(self, _bucket: str, _key: str, data: bytes, headers: Mapping[str, str]) -> None:
        assert headers["If-None-Match"] == "*"
        if self.standing is not None:
            raise s3_error("PreconditionFailed", 412)
        self.standing = data
        if self.lost:
            raise urllib3.exceptions.ProtocolError("connection broken")

    def get_object(self, _bucket: str, _key: str) -> Any:
        return SimpleNamespace(read=lambda: self.standing, close=lambda: None, release_conn=lambda: None)


SETTINGS = S3Settings("h", "b", "a", "s", patience_seconds=5)


def test_a_lost_answer_to_a_create_is_resolved_by_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "BACKOFF_BASE", 0.01)
    assert s3.put_if_absent(Once(), SETTINGS, "k", b"mine")  # type: ignore[arg-type]
    assert not s3.put_if_absent(Once(b"theirs"), SETTINGS, "k", b"mine")  # type: ignore[arg-type]
    assert not s3.put_if_absent(Once(b"mine"), SETTINGS, "k", b"mine")  # type: ignore[arg-type]


def test_throttling_is_retried_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "BACKOFF_BASE", 0.01)
    answers = iter([s3_error("SlowDown", 503), s3_error("InternalError", 500), None])

    def work() -> str:
        error = next(answers)
        if error:
            raise error
        return "done"

    assert s3.retrying("x", work, 5) == "done"

    def never() -> None:
        raise s3_error("SlowDown", 503)

    with pytest.raises(StoreUnavailable, match="SlowDown"):
        s3.retrying("x", never, 0.2)


@pytest.mark.parametrize(("endpoint", "secure", "expected"), [
    ("http://minio.minio.svc:9000", "", ("minio.minio.svc:9000", False)),
    ("https://s3.example.org", "false", ("s3.example.org", True)),
    ("s3.example.org", "", ("s3.example.org", True)),
    ("localhost:9000", "False", ("localhost:9000", False)),
])  # fmt: skip
def test_endpoints(endpoint: str, secure: str, expected: tuple[str, bool]) -> None:
    assert parse_endpoint(endpoint, secure) == expected


def test_missing_store_settings_are_named() -> None:
    with pytest.raises(ValidationFailure, match="FLYWHEEL_S3_BUCKET, FLYWHEEL_S3_ACCESS_KEY"):
        S3Settings.from_env({STORE_ENV["endpoint"]: "http://x", STORE_ENV["secretKey"]: "s"})
    with pytest.raises(ValidationFailure, match="without a path"):
        parse_endpoint("http://x/bucket", "")
    assert "s3cret" not in repr(S3Settings("h", "b", "a", "s3cret"))


def test_stage_configuration_errors_name_the_field() -> None:
    with pytest.raises(ValidationFailure, match="not set"):
        load_config({})
    with pytest.raises(ValidationFailure, match="owner"):
        load_config({STAGE_CONFIG_ENV: '{"stage": "Prepare"}'})


def test_every_stage_that_runs_as_a_job_has_its_work() -> None:
    assert set(STAGES) == {d.stage for d in PIPELINE if d.runs is Runs.JOB}


def test_counts_must_add_up() -> None:
    check_counts(Counts(in_=3, out=2, dropped=[Dropped(reason="x", count=1)]))
    with pytest.raises(RuntimeError, match="do not add up"):
        check_counts(Counts(in_=3, out=2))


def test_redaction() -> None:
    redactor = Redactor({"FLYWHEEL_S3_SECRET_KEY": "s3-secret-value", "HOME": "/home/x", "A_TOKEN": "abc"})
    event = redactor(None, "info", {"event": "x s3-secret-value y", "deep": [{"apiKey": "q", "v": "s3-secret-value"}],
                                    "url": "https://u:p@h/b?X-Amz-Signature=abcdef&x=1"})  # fmt: skip
    text = json.dumps(event)
    assert "s3-secret-value" not in text and "abcdef" not in text and "u:p" not in text and '"q"' not in text
