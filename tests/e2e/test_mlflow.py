"""What a training tells a real MLflow server, read back from it. Needs no cluster: `make e2e` makes the environment."""

from __future__ import annotations

import json
import os
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.process import free_ports
from e2e.own_server import python_of, running
from flywheel_api.tracking import Tracker, TrackingSpec
from unit.trainer.test_trackers import config, train

Object = dict[str, Any]


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    python = python_of("MLFLOW_PYTHON")
    port, folder = free_ports(1)[0], tmp_path_factory.mktemp("mlflow")
    url = f"http://127.0.0.1:{port}"
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/runs.db", "--artifacts-destination", str(folder / "files")]
    told = {"PATH": f"{Path(python).parent}:{os.environ['PATH']}"}
    with running("MLflow", command, folder, lambda: ask(url, "experiments/get", experiment_id="0"), told):
        yield url


def ask(url: str, path: str, body: Object | None = None, **query: str) -> Object:
    address = f"{url}/api/2.0/mlflow/{path}?{urllib.parse.urlencode(query)}"
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: Object = json.loads(answer.read())
    return found


def attempt(url: str, number: int, steps: range, succeeded: bool) -> str:
    """One attempt of a training that tells each of its steps; the run's page."""
    spec = TrackingSpec.model_construct(type=Tracker.MLFLOW, url=url, project="a team's own", entity=None, api_key=None)
    told = train(config(spec, number, name="support"), steps, succeeded)
    assert told[-1][1] is None, told
    return str(told[-1][0])


@pytest.mark.timeout(600)
def test_two_attempts_of_a_training_are_one_run_of_a_real_server(mlflow: str) -> None:
    page = attempt(mlflow, 1, range(1, 4), succeeded=False)
    experiment = ask(mlflow, "experiments/get-by-name", experiment_name="a team's own")["experiment"]["experiment_id"]
    search = {"experiment_ids": [experiment], "max_results": 10}
    (run,) = ask(mlflow, "runs/search", search)["runs"]
    assert run["info"]["status"] == "FAILED" and page.endswith(run["info"]["run_id"])
    assert attempt(mlflow, 2, range(3, 6), succeeded=True) == page
    (run,) = ask(mlflow, "runs/search", search)["runs"]
    assert (run["info"]["status"], run["info"]["run_name"]) == ("FINISHED", "support")
    params = {p["key"]: p["value"] for p in run["data"]["params"]}
    assert params["algorithm"] == "GRPO" and params["algorithm.groupSize"] == "16"
    rewards = ask(mlflow, "metrics/get-history", run_id=run["info"]["run_id"], metric_key="critic/score/mean")
    seen = {m["step"]: m["value"] for m in rewards["metrics"]}
    assert seen == {step: step / 10 for step in range(1, 6)}
    assert {m["key"] for m in run["data"]["metrics"]} == {"critic/score/mean", "val-core/acc_at_4"}
    print(f"MLflow: {page}, {len(seen)} steps of two attempts in one run", flush=True)
