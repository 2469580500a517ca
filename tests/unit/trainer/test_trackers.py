"""Trackers: one run for all attempts of a training, and a tracker that is away, slow or refuses costs nothing."""

from __future__ import annotations

import io
import json
import sys
import threading
import types
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from flywheel_api.artifacts import Owner
from flywheel_api.common import SecretKeyRef
from flywheel_api.rljob import DataSpec, RewardSpec, RLJobSpec
from flywheel_api.stages import TrainConfig
from flywheel_api.tracking import TRACKER_KEY_ENV, Tracker, TrackingSpec
from flywheel_jobs.trainer import trackers
from flywheel_jobs.trainer.trackers import Tracking, tracking_of

Object = dict[str, Any]
KEY = SecretKeyRef(secret_name="tracker", key="token")


class Server(ThreadingHTTPServer):
    """The calls of MLflow's REST API that we make, as its documentation has them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, Object] = {}
        self.keys: set[str] = set()
        self.faults: list[int] = []
        self.moved = ""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, query: str, body: Object) -> tuple[int, Object]:
        match path.removeprefix("/api/2.0/mlflow/"):
            case "experiments/get-by-name":
                name = unquote(query.removeprefix("experiment_name="))
                if name not in self.experiments:
                    return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
                return 200, {"experiment": {"experiment_id": self.experiments[name]}}
            case "experiments/create":
                self.experiments[body["name"]] = str(len(self.experiments) + 1)
                return 200, {"experiment_id": self.experiments[body["name"]]}
            case "runs/search":
                value = body["filter"].partition(" = ")[2].strip("'")
                tag = body["filter"].partition("`")[2].partition("`")[0]
                found = [r for r in self.runs.values() if r["tags"].get(tag) == value]
                found = [r for r in found if r["experiment"] in body["experiment_ids"]]
                return 200, {"runs": [{"info": {"run_id": r["id"]}} for r in found]} if found else {}
            case "runs/create":
                made = {"id": f"run{len(self.runs)}", "experiment": body["experiment_id"], "name": body["run_name"]}
                tags = {t["key"]: t["value"] for t in body["tags"]}
                self.runs[made["id"]] = {**made, "tags": tags, "metrics": [], "params": {}, "status": "RUNNING"}
                return 200, {"run": {"info": {"run_id": made["id"]}}}
            case "runs/update":
                self.runs[body["run_id"]]["status"] = body["status"]
            case "runs/log-batch":
                assert len(body.get("metrics", [])) <= 1000
                self.runs[body["run_id"]]["metrics"] += [
                    (m["step"], m["key"], m["value"]) for m in body.get("metrics", [])
                ]
                self.runs[body["run_id"]]["params"] |= {p["key"]: p["value"] for p in body.get("params", [])}
            case _:
                return 404, {}
        return 200, {}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def do_GET(self) -> None:
        self._answer({})

    def _answer(self, body: Object) -> None:
        self.server.keys.add(self.headers.get("Authorization", ""))
        where = urlparse(self.path)
        status, data = (
            (self.server.faults.pop(0), {}) if self.server.faults else self.server.answer(where.path, where.query, body)
        )
        self.send_response(302 if self.server.moved else status)
        if self.server.moved:
            self.send_header("Location", f"{self.server.moved}{self.path}")
        self.end_headers()
        self.wfile.write(json.dumps(data).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.shutdown()
    made.server_close()


def config(spec: TrackingSpec, attempt: int = 1, name: str = "job", content: str = "1" * 64) -> TrainConfig:
    job = RLJobSpec(
        model="sha256:" + "0" * 64,
        data=DataSpec(train=["sha256:" + "2" * 64]),
        reward=RewardSpec(type="Math"),
        gpus_per_node=0,
        tracking=spec,
    )
    owner = Owner(kind="RLJob", namespace="team", name=name, uid=name)
    return TrainConfig(owner=owner, attempt=attempt, content_key=f"sha256:{content}", spec=job, model=job.model)


def at(server: Server, **more: Any) -> TrackingSpec:
    return TrackingSpec.model_construct(
        type=Tracker.MLFLOW, url=server.url, project=more.get("project"), entity=None, api_key=KEY
    )


def train(found: TrainConfig, steps: range, succeeded: bool = True) -> list[tuple[str | None, str | None]]:
    told: list[tuple[str | None, str | None]] = []
    tracking = tracking_of(found, lambda run, wrong: told.append((run, wrong)))
    assert isinstance(tracking, Tracking)
    tracking.start()
    for step in steps:
        tracking.numbers(step, {"critic/score/mean": step / 10, "val-core//acc@4": 1.0, "loss": float("nan")})
    tracking.stop(succeeded)
    return told


def test_no_key_goes_where_a_redirect_leads(server: Server) -> None:
    other = Server()
    server.moved = other.url
    told = train(config(at(server)), range(1, 3))
    other.shutdown()
    other.server_close()
    assert server.keys and not other.keys and not other.runs
    assert any("302" in (wrong or "") for _, wrong in told)


def test_a_training_is_a_run(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACKER_KEY_ENV, "canary-token\n")
    told = train(config(at(server, project="support")), range(1, 4))
    (run,) = server.runs.values()
    assert (run["name"], run["status"], server.experiments) == ("job", "FINISHED", {"support": "1"})
    assert [m for m in run["metrics"] if m[1] == "critic/score/mean"] == [
        (1, "critic/score/mean", 0.1), (2, "critic/score/mean", 0.2), (3, "critic/score/mean", 0.3)
    ]  # fmt: skip
    assert {m[1] for m in run["metrics"]} == {"critic/score/mean", "val-core/acc_at_4"}, (
        "as verl's own logger names them"
    )
    assert run["params"]["algorithm"] == "GRPO" and run["params"]["algorithm.groupSize"] == "16"
    assert server.keys == {"Bearer canary-token"}
    assert told[-1] == (f"{server.url}/#/experiments/1/runs/run0", None)


def test_a_user_and_password_are_sent_as_such(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACKER_KEY_ENV, "ann:secret")
    train(config(at(server)), range(1, 2))
    assert server.keys == {"Basic YW5uOnNlY3JldA=="} and list(server.experiments) == ["team"]


def test_the_next_attempt_goes_on_with_the_run(server: Server) -> None:
    train(config(at(server)), range(1, 4), succeeded=False)
    assert server.runs["run0"]["status"] == "FAILED"
    train(config(at(server), attempt=2), range(3, 5))
    train(config(at(server), name="again"), range(5, 6))
    assert list(server.runs) == ["run0"] and server.runs["run0"]["status"] == "FINISHED"
    assert {m[0] for m in server.runs["run0"]["metrics"]} == {1, 2, 3, 4, 5}
    train(config(at(server), content="3" * 64), range(1, 2))
    assert len(server.runs) == 2, "another content is another run"


def test_what_a_tracker_missed_is_sent_later(server: Server) -> None:
    server.faults = [503] * 3
    told = train(config(at(server)), range(1, 6))
    assert sorted({m[0] for m in server.runs["run0"]["metrics"]}) == [1, 2, 3, 4, 5]
    assert any(wrong and "503" in wrong for _, wrong in told) and told[-1][1] is None


def test_a_tracker_that_refuses_or_hangs_ends_no_training(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACKER_KEY_ENV, "canary-token")
    server.faults = [403] * 100
    told = train(config(at(server)), range(1, 4))
    assert told[-1][0] is None and "403" in str(told[-1][1]) and server.runs == {}
    monkeypatch.setattr(trackers, "CLOSING_SECONDS", 0.2)
    hangs = threading.Event()
    monkeypatch.setattr(server, "answer", lambda *_: (hangs.wait(5), (200, {}))[1])
    server.faults = []
    train(config(at(server)), range(1, 2))  # comes back
    hangs.set()


def test_the_words_of_a_tracker_hold_no_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACKER_KEY_ENV, "canary-token")

    class Angry:
        def open(self) -> str:
            raise RuntimeError("no such key: canary-token")

        def send(self, steps: object) -> None: ...

        def close(self, succeeded: bool) -> None: ...

    told: list[str | None] = []
    tracking = Tracking(Angry(), lambda _, wrong: told.append(wrong))
    tracking.start()
    tracking.stop(True)
    assert told and all("canary" not in str(t) and "[redacted]" in str(t) for t in told)


def test_wandb_is_told_by_its_library_and_resumes_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Any]] = []

    class Run:
        url = "https://wandb.ai/acme/support/runs/x"

        def log(self, numbers: Object, step: int) -> None:
            calls.append(("log", (step, numbers)))

        def finish(self, exit_code: int) -> None:
            calls.append(("finish", exit_code))

    fake = types.ModuleType("wandb")

    def init(**given: Any) -> Run:
        calls.append(("init", given))
        return Run()

    fake.login = lambda **given: calls.append(("login", given))  # type: ignore[attr-defined]
    fake.init = init  # type: ignore[attr-defined]
    fake.Settings = lambda **kw: kw  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv(TRACKER_KEY_ENV, "canary-token")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    spec = TrackingSpec(type="WeightsAndBiases", project="support", entity="acme", api_key=KEY)
    ids = []
    for attempt in (1, 2):
        told = train(config(spec, attempt), range(attempt, attempt + 1), succeeded=attempt == 2)
        made = dict(calls)["init"]
        ids.append((made["id"], made["resume"], made["project"], made["entity"], made["name"]))
        assert told[-1] == (Run.url, None)
    assert ids == [("1" * 32, "allow", "support", "acme", "job")] * 2
    assert [c for c in calls if c[0] in ("log", "finish")] == [
        ("log", (1, {"critic/score/mean": 0.1, "val-core//acc@4": 1.0})), ("finish", 1),
        ("log", (2, {"critic/score/mean": 0.2, "val-core//acc@4": 1.0})), ("finish", 0),
    ]  # fmt: skip
    assert dict(calls)["login"] == {"key": "canary-token", "host": None, "relogin": True, "verify": False}


def test_without_a_tracker_nobody_is_told() -> None:
    found = config(TrackingSpec(type="WeightsAndBiases", api_key=KEY))
    none = found.model_copy(update={"spec": found.spec.model_copy(update={"tracking": None})})
    assert tracking_of(none, lambda *_: None) is None


def test_a_key_that_cannot_be_one_is_told_and_not_quoted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACKER_KEY_ENV, "Bearer canary-token")
    told: list[str | None] = []
    assert tracking_of(config(at(server)), lambda _, wrong: told.append(wrong)) is None
    assert len(told) == 1 and "write the key alone" in str(told[0]) and "canary" not in str(told[0])


class Opener:
    """Takes what is sent to a Trackio server, and answers as told."""

    def __init__(self, answer: Object | urllib.error.HTTPError) -> None:
        self.answer = answer
        self.sent: list[tuple[str, dict[str, str], Object]] = []

    def open(self, request: urllib.request.Request, timeout: float) -> io.BytesIO:
        assert timeout == trackers.TIMEOUT_SECONDS and isinstance(request.data, bytes)
        self.sent.append((request.full_url, dict(request.headers), json.loads(request.data)["kwargs"]))
        if isinstance(self.answer, urllib.error.HTTPError):
            raise self.answer
        return io.BytesIO(json.dumps(self.answer).encode())


def trackio(monkeypatch: pytest.MonkeyPatch, url: str, answer: Object | urllib.error.HTTPError) -> tuple[Opener, Any]:
    """What a Trackio at this address was sent by two attempts of a training, and what the second heard."""
    opener = Opener(answer)
    monkeypatch.setattr(trackers, "_OPENER", opener)
    monkeypatch.setenv(TRACKER_KEY_ENV, "canary-token")
    spec = TrackingSpec(type="Trackio", url=url, project="support", api_key=KEY)
    heard = [train(config(spec, attempt), range(attempt, attempt + 1)) for attempt in (1, 2)]
    return opener, heard[-1][-1]


@pytest.mark.parametrize(
    ("url", "header", "token"),
    [
        ("http://trackio.ml.svc:7860/", ("X-trackio-write-token", "canary-token"), None),
        ("https://acme-trackio.hf.space", ("Authorization", "Bearer canary-token"), "canary-token"),
    ],
)
def test_trackio_is_told_by_its_api_and_resumes_by_id(
    monkeypatch: pytest.MonkeyPatch, url: str, header: tuple[str, str], token: str | None
) -> None:
    """tests/e2e/test_trackio.py asks a real server; a Space wants a token of the hub, said twice."""
    opener, heard = trackio(monkeypatch, url, {"data": None})
    assert heard == (f"{url.rstrip('/')}/?project=support", None)
    keys = {"X-trackio-write-token", "Authorization"}
    for where, headers, body in opener.sent:
        assert where == f"{url.rstrip('/')}/api/bulk_log" and body["hf_token"] == token
        assert [(k, v) for k, v in headers.items() if k in keys] == [header]
    rows = [row for _, _, body in opener.sent for row in body["logs"]]
    assert [(r["project"], r["run"], r["run_id"], r["step"]) for r in rows] == [
        ("support", "job", "1" * 32, 1), ("support", "job", "1" * 32, 2),
    ]  # fmt: skip
    assert rows[0]["metrics"] == {"critic/score/mean": 0.1, "val-core//acc@4": 1.0}
    assert rows[0]["config"]["nodes"] == 1 and rows[0]["log_id"] != rows[1]["log_id"]
    assert opener.sent[0][2]["logs"] == []  # whether it takes anything from us, before the first step


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "no space left"},
        urllib.error.HTTPError("u", 400, "Bad Request", Message(), io.BytesIO(b'{"error":"no space left"}')),
    ],
)
def test_what_trackio_says_is_told(monkeypatch: pytest.MonkeyPatch, answer: Object | urllib.error.HTTPError) -> None:
    opener = Opener(answer)
    monkeypatch.setattr(trackers, "_OPENER", opener)
    spec = TrackingSpec(type="Trackio", url="http://trackio.ml.svc:7860", api_key=KEY)
    page, wrong = train(config(spec), range(0))[0]
    assert page is None and "no space left" in str(wrong)
