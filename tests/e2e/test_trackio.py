"""What a training tells a real Trackio server, read back from it. No cluster: `make e2e` makes the environment."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.process import free_ports
from e2e.own_server import python_of, running
from flywheel_api.tracking import TRACKER_KEY_ENV, Tracker, TrackingSpec
from flywheel_jobs.trainer.trackers import Naming, Step, TrackioRun
from unit.trainer.test_trackers import KEY, config, train

TOKEN = "canary-write-token"
METRIC = "critic/score/mean"


@pytest.fixture(scope="module")
def trackio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    python = Path(python_of("TRACKIO_PYTHON"))
    port, folder = free_ports(1)[0], tmp_path_factory.mktemp("trackio")
    url = f"http://127.0.0.1:{port}"
    told = {"GRADIO_SERVER_PORT": str(port), "TRACKIO_WRITE_TOKEN": TOKEN, "TRACKIO_DIR": str(folder / "runs")}
    command = [str(python.parent / "trackio"), "show"]
    with running("Trackio", command, folder, lambda: ask(url, "get_all_projects") is not None, told):
        yield url


def ask(url: str, name: str, *given: object) -> Any:
    data = json.dumps({"args": given}).encode()
    request = urllib.request.Request(f"{url}/api/{name}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["data"]


def attempt(url: str, number: int, steps: range, content: str = "1" * 64) -> list[tuple[str | None, str | None]]:
    """One attempt of a training that tells each of its steps; what it was told."""
    spec = TrackingSpec.model_construct(type=Tracker.TRACKIO, url=url, project="support", entity=None, api_key=KEY)
    return train(config(spec, number, name="support", content=content), steps, succeeded=True)


def scores(url: str, run: str) -> list[tuple[int, float]]:
    rows = ask(url, "get_metric_values", "support", None, METRIC, None, None, None, None, run)
    return [(row["step"], row["value"]) for row in rows]


@pytest.mark.timeout(300)
def test_two_attempts_of_a_training_are_one_run_of_a_real_server(trackio: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACKER_KEY_ENV, TOKEN)
    for number, steps in ((1, range(1, 4)), (2, range(4, 6))):
        assert attempt(trackio, number, steps)[-1] == (f"{trackio}/?project=support", None)
    attempt(trackio, 1, range(1, 3), content="2" * 64)  # another training of the same name is a run of its own
    ids = [(run["id"], run["name"]) for run in ask(trackio, "get_runs_for_project", "support")]
    assert ids == [("1" * 32, "support"), ("2" * 32, "support")]
    assert scores(trackio, "1" * 32) == [(step, step / 10) for step in range(1, 6)]
    assert scores(trackio, "2" * 32) == [(1, 0.1), (2, 0.2)]
    assert ask(trackio, "get_run_summary", "support", "support", "1" * 32)["config"]["algorithm"] == "GRPO"


def test_a_step_that_is_sent_twice_is_one(trackio: str) -> None:
    spec = TrackingSpec.model_construct(type=Tracker.TRACKIO, url=trackio, project="support", entity=None, api_key=KEY)
    found = config(spec, content="4" * 64)
    run = TrackioRun(spec, Naming(found.owner, found.content_key, {}), TOKEN)
    for _ in range(2):  # the answer to the first was lost on its way
        run.send([Step(1, {METRIC: 0.5}, 1000.0)])
    assert scores(trackio, "4" * 32) == [(1, 0.5)]


def test_a_wrong_token_is_said_in_the_server_s_own_words(trackio: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACKER_KEY_ENV, "another")
    page, wrong = attempt(trackio, 1, range(1, 2), content="3" * 64)[-1]
    assert page is None and "write_token is required" in str(wrong)
