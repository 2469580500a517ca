"""Attempts, journal, retries and logs, without a server."""

from __future__ import annotations

import base64
import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest

from flywheel_api import artifacts
from flywheel_api.artifacts import Counts, Dropped, Failure, Owner, RoleUsage, ServedBy
from flywheel_api.causes import CAUSE_OF_EXIT, Cause, ExitCode
from flywheel_api.stages import PIPELINE, STAGE_CONFIG_ENV, Runs
from flywheel_jobs.core import errors
from flywheel_jobs.core.errors import HeadLost, StoreUnavailable, ValidationFailure
from flywheel_jobs.core.logging import REDACTED, Redactor, traced
from flywheel_jobs.harness.attempt import Attempt, described
from flywheel_jobs.harness.context import check_counts
from flywheel_jobs.harness.journal import Item, Journal
from flywheel_jobs.harness.runner import load_config
from flywheel_jobs.stages.main import STAGES
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket

OWNER = Owner(kind="RLJob", namespace="n", name="j", uid="u")


def memory() -> Store:
    return Store(MemoryBucket())


def attempt(store: Store) -> Attempt:
    return Attempt(store, OWNER, "Train", 1, "sha256:" + "0" * 64)


def test_second_incarnation_of_an_attempt_stops() -> None:
    store = memory()
    attempt(store).claim()
    with pytest.raises(HeadLost, match="already started") as lost:
        attempt(store).claim()
    assert described(lost.value)[1] == ExitCode.HEAD_LOST


def test_an_attempt_goes_on_where_a_queue_let_it_go_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """KubeRay deletes the cluster of a suspended RayJob, and makes one of another name when it may go on."""
    store = memory()
    monkeypatch.setenv("RAY_CLUSTER_NAME", "train-a1-abcde")
    attempt(store).claim()
    failure = artifacts.failure_key("u", "Train", 1)
    store.put_json(failure, Failure(cause=Cause.PREEMPTED, reason="Terminated", message="stopped", at="2026-01-01"))
    with pytest.raises(HeadLost):
        attempt(store).claim()
    monkeypatch.setenv("RAY_CLUSTER_NAME", "train-a1-fghij")
    attempt(store).claim()
    assert store.get_json(failure) is None, "what was told when it was stopped is void"
    with pytest.raises(HeadLost):
        attempt(store).claim()


def test_updated_at_moves_with_progress_only(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(f"2026-01-01T00:00:{i:02}Z" for i in range(60))
    monkeypatch.setattr("flywheel_jobs.harness.pulse.now", lambda: next(times))
    one = attempt(memory())
    start = one.pulse.progress.updated_at
    one.update(waiting_for="Teacher")
    one.update(tokens_per_second=5.0)
    assert one.pulse.progress.updated_at == start
    one.update(done=1, text="1 of 2")
    moved = one.pulse.progress.updated_at
    assert moved > start
    one.update(done=1, text="1 of 2", waiting_for=None)
    assert one.pulse.progress.updated_at == moved


def test_heartbeat_writes_while_the_main_thread_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flywheel_jobs.harness.pulse.MIN_WRITE_SECONDS", 0.02)
    monkeypatch.setattr("flywheel_jobs.harness.pulse.HEARTBEAT_SECONDS", 0.05)
    store = memory()
    one = attempt(store)
    one.pulse.start()
    one.update(done=3, total=4, text="working")
    time.sleep(0.3)
    key = artifacts.progress_key("u", "Train", 1)
    assert (store.get_json(key) or {})["done"] == 3
    one.update(done=4)
    one.pulse.stop()
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
    store = memory()
    code = attempt(store).fail(ValidationFailure("bad sk-canary-1 input: do this"))
    failure = Failure.model_validate(store.get_json(artifacts.failure_key("u", "Train", 1)))
    assert code == 64 and failure.cause is Cause.VALIDATION and failure.message == f"bad {REDACTED} input: do this"


KEY = "sha256:" + "0" * 64


def journal(store: Store, uid: str = "u", number: int = 1, key: str = KEY) -> Journal:
    owner = OWNER.model_copy(update={"uid": uid})
    return Journal(store, owner, key, number)


async def test_journal_survives_in_segments_and_others_take_it_over() -> None:
    store = memory()
    one = journal(store)
    one.add(Item(phase="p", key="k1", result={"x": 1}))
    one.add(Item(phase="p", key="k2", dropped="bad"))
    usage = RoleUsage(role="Teacher", calls=2, prompt_tokens=10, completion_tokens=4, seconds=1.0)
    await one.flush([usage], [ServedBy(role="Teacher", model="m", standin=True)])
    await one.flush([], [])  # nothing new: nothing written
    assert len(store.list_keys("")) == 1
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
    store = memory()
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


@pytest.mark.parametrize("value", ["s3-secret-value\n", "s3-secret\nvalue", "s3/secret+value==\r\n"])
def test_redaction_of_what_libraries_quote(value: str) -> None:
    """What cannot stand in a header is refused in its quoted form, with the whole header around it."""
    redactor = Redactor({"FLYWHEEL_S3_ACCESS_KEY": value})
    header = f"AWS4-HMAC-SHA256 Credential={value}/20261126/us-east-1/s3/aws4_request, Signature=abdafd5d0f"
    error = ValueError(f"Invalid header value {header.encode()!r}")
    text = redactor.text(f"{error} {value!r} {value}")
    assert "s3" not in text.replace("s3/aws4", "") and "secret" not in text and "abdafd" not in text


def test_redaction() -> None:
    redactor = Redactor({"FLYWHEEL_S3_SECRET_KEY": "s3-secret-value", "HOME": "/home/x", "A_TOKEN": "abc"})
    event = redactor(None, "info", {"event": "x s3-secret-value y", "deep": [{"apiKey": "q", "v": "s3-secret-value"}],
                                    "url": "https://u:p@h/b?X-Amz-Signature=abcdef&x=1"})  # fmt: skip
    text = json.dumps(event)
    assert "s3-secret-value" not in text and "abcdef" not in text and "u:p" not in text and '"q"' not in text


def test_redaction_knows_a_key_in_every_form_and_by_its_beginning() -> None:
    """Public proxies put the key into their errors, escaped as their language does it, and cut where they like."""
    key = "sk-live/+9f8e=7d6c5b4a3210" * 2
    redactor = Redactor({"FLYWHEEL_API_KEY_TEACHER": key + "\n", "FLYWHEEL_S3_ACCESS_KEY": "flywheel\n"})
    forms = [key, json.dumps(key), json.dumps(key).replace("/", "\\/"), repr(key + "\n"), quote_plus(key), quote(key)]
    for form in (*forms, *(f[:n] for f in forms for n in (20, 30, 40))):
        assert "9f8e" not in redactor.text(f"it is {form}"), form
    assert "flywheel" not in redactor.text("b'the key flywheel\\n/2026'")
    for url in ("https://h/v1?api-key=abc&x=1", "https://h/v1?x=1&key=abc", "https://h/v1?Subscription-Key=abc"):
        assert "abc" not in redactor.text(url) and ("x=1" in redactor.text(url)) == ("x=1" in url)


@pytest.mark.parametrize("key", ["bell\a'and\"quotes", "schlüssel/ä\aö", "tab\tin-it\x7f", "two words/ü"])
def test_a_key_is_known_as_programs_print_it(key: str) -> None:
    """http.client says `Invalid header value b'...'`; others print with repr, as JSON, or in a URL."""
    redactor = Redactor({"FLYWHEEL_API_KEY_TEACHER": key})
    printed = [repr(key), repr(key.encode()), json.dumps(key), json.dumps(key, ensure_ascii=False)]
    forms = [form.removeprefix("b")[1:-1] for form in printed]
    forms += [quote(key), quote(key, safe=""), quote_plus(key), quote(key, safe="").lower()]
    forms += [base64.b64encode(key.encode()).decode(), *(json.dumps(form)[1:-1] for form in forms)]
    for form in (*forms, html.escape(key)):  # a gateway quotes what another one said
        assert redactor.text(f"Invalid value '{form}'!") == f"Invalid value '{REDACTED}'!"


def test_a_traceback_is_short_and_shows_where_it_broke_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_API_KEY_TEACHER", "s3-secret-value")

    def down(left: int, world: str) -> None:
        if left == 0:
            raise ValueError(f"row {'x' * 5000} s3-secret-value")
        (down if left % 2 else lambda n, w: down(n, w))(left - 1, world)

    with pytest.raises(ValueError, match="row") as caught:
        down(60, "all of a world")
    text = traced(caught.value)
    assert len(text) < 4100 and "in down" in text and text.startswith("Traceback")
    assert "secret" not in text and "all of a world" not in text
