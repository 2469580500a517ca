"""Experiment trackers are told of a training: one run for all attempts, in a thread of its own.

A tracker is a spectator. One that is slow, away or refuses costs no step and ends no training: what it missed is sent
with the next step, and the RLJob's condition `Tracked` says what it answers. Verl's own loggers are not used for this:
they run where the key would have to be in every worker, and end the run where a tracker does not answer.
"""

from __future__ import annotations

import base64
import json
import math
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from flywheel_api.artifacts import Owner
from flywheel_api.base import secret_value
from flywheel_api.canonical import hex_of
from flywheel_api.stages import TrainConfig
from flywheel_api.tracking import TRACKER_KEY_ENV, Tracker, TrackingSpec
from flywheel_jobs.core.logging import get_logger, redact

TIMEOUT_SECONDS = 15.0
CLOSING_SECONDS = 20.0
HELD = 2000  # steps that are kept for a tracker that is away
_BATCH = 1000  # metrics that MLflow takes in one request
_NO_METRIC = re.compile(r"[^/\w.\- :]")
log = get_logger(__name__)


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key would go along, to a host that its Secret does not name."""

    def redirect_request(self, *_: Any) -> None:
        """None makes the redirect an error like any other."""


_OPENER = urllib.request.build_opener(_Stays)


@dataclass(frozen=True)
class Step:
    """What verl reports of a step, by its names."""

    step: int
    numbers: Mapping[str, float]
    at: float


class Run(Protocol):
    """A run of a tracker. Calls block, and raise whatever the other side makes of them."""

    def open(self) -> str:
        """Begins the run, or goes on with it; its address for people."""

    def send(self, steps: list[Step]) -> None:
        """Adds steps."""

    def close(self, succeeded: bool) -> None:
        """Ends it."""


@dataclass(frozen=True)
class Naming:
    """How the run of a training is called. `content` is the same for all who train the same."""

    owner: Owner
    content: str
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """An id that every attempt arrives at."""
        return hex_of(self.content)[:32]


class MlflowRun:
    """A run of an MLflow server, by its REST API: the run of this content is looked for by a tag."""

    TAG = "flywheel.content"

    def __init__(self, spec: TrackingSpec, naming: Naming, key: str | None) -> None:
        self._base = f"{(spec.url or '').rstrip('/')}/api/2.0/mlflow"
        self._page = (spec.url or "").rstrip("/")
        self._experiment = spec.project or naming.owner.namespace
        self._naming, self._headers = naming, {"Content-Type": "application/json", **_authorization(key)}
        self._run = ""

    def open(self) -> str:
        """See Run."""
        experiment = self._experiment_id()
        wanted = f"tags.`{self.TAG}` = '{self._naming.key}'"
        found = self._ask("POST", "runs/search", experiment_ids=[experiment], filter=wanted, max_results=1).get("runs")
        if found:
            self._run = found[0]["info"]["run_id"]
            self._ask("POST", "runs/update", run_id=self._run, status="RUNNING")
        else:
            tags = [{"key": self.TAG, "value": self._naming.key}, {"key": "mlflow.source.name", "value": "flywheel"}]
            made = self._ask(
                "POST",
                "runs/create",
                experiment_id=experiment,
                run_name=self._naming.owner.name,
                start_time=int(time.time() * 1000),
                tags=tags,
            )
            self._run = made["run"]["info"]["run_id"]
            params = [{"key": k, "value": str(v)[:500]} for k, v in sorted(self._naming.settings.items())]
            self._ask("POST", "runs/log-batch", run_id=self._run, params=params[:100])
        return f"{self._page}/#/experiments/{experiment}/runs/{self._run}"

    def send(self, steps: list[Step]) -> None:
        """See Run."""
        metrics = [
            {"key": _metric(name), "value": value, "timestamp": int(s.at * 1000), "step": s.step}
            for s in steps
            for name, value in s.numbers.items()
        ]
        for start in range(0, len(metrics), _BATCH):
            self._ask("POST", "runs/log-batch", run_id=self._run, metrics=metrics[start : start + _BATCH])

    def close(self, succeeded: bool) -> None:
        """See Run."""
        status = "FINISHED" if succeeded else "FAILED"
        self._ask("POST", "runs/update", run_id=self._run, status=status, end_time=int(time.time() * 1000))

    def _experiment_id(self) -> str:
        try:
            name = quote(self._experiment, safe="")
            found = self._ask("GET", f"experiments/get-by-name?experiment_name={name}")
            return str(found["experiment"]["experiment_id"])
        except urllib.error.HTTPError as answer:
            if answer.code != 404:
                raise
        return str(self._ask("POST", "experiments/create", name=self._experiment)["experiment_id"])

    def _ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        return _answer(method, f"{self._base}/{path}", self._headers, body)


class WandbRun:
    """A run of W&B, by its own library."""

    def __init__(self, spec: TrackingSpec, naming: Naming, key: str | None) -> None:
        self._spec, self._naming, self._key = spec, naming, key
        self._run: Any = None

    def open(self) -> str:
        """See Run."""
        os.environ["WANDB_MODE"] = "online"  # images of ours turn it off for what serves and trains
        import wandb

        wandb.login(key=self._key, host=self._spec.url, relogin=True, verify=False)
        self._run = wandb.init(
            project=self._spec.project or self._naming.owner.namespace,
            entity=self._spec.entity,
            name=self._naming.owner.name,
            id=self._naming.key,
            resume="allow",
            config=dict(self._naming.settings),
            settings=wandb.Settings(console="off", init_timeout=TIMEOUT_SECONDS),
        )
        return str(self._run.url or "")

    def send(self, steps: list[Step]) -> None:
        """See Run."""
        for step in steps:
            self._run.log(dict(step.numbers), step=step.step)

    def close(self, succeeded: bool) -> None:
        """See Run."""
        self._run.finish(exit_code=0 if succeeded else 1)


class TrackioRun:
    """A run of a Trackio server, or of one in a Space of the hub, by its HTTP API (version 1): no library is needed.

    A run is known by its id. `log_id` makes a step that is sent twice one row. Trackio keeps no end of a run.
    """

    def __init__(self, spec: TrackingSpec, naming: Naming, key: str | None) -> None:
        self._server = (spec.url or "").rstrip("/")
        self._project, self._naming = spec.project or naming.owner.namespace, naming
        in_space = (urlsplit(self._server).hostname or "").endswith(".hf.space")
        self._token = key if in_space else None  # the hub's; a server of one's own has a token of its own
        self._headers = {"Content-Type": "application/json"}
        if key is not None:
            self._headers |= {"Authorization": f"Bearer {key}"} if in_space else {"X-Trackio-Write-Token": key}

    def open(self) -> str:
        """See Run. Nothing to log, which a server that takes no steps from us refuses all the same."""
        self._log([])
        return f"{self._server}/?project={quote(self._project, safe='')}"

    def send(self, steps: list[Step]) -> None:
        """See Run."""
        name, key = self._naming.owner.name, self._naming.key
        run = {"project": self._project, "run": name, "run_id": key, "config": dict(self._naming.settings)}
        self._log(
            [run | {"metrics": dict(s.numbers), "step": s.step, "log_id": f"{key}-{s.step}-{s.at}"} for s in steps]
        )

    def close(self, succeeded: bool) -> None:
        """See Run."""

    def _log(self, logs: list[dict[str, Any]]) -> None:
        body = {"kwargs": {"logs": logs, "hf_token": self._token}}
        try:
            found = _answer("POST", f"{self._server}/api/bulk_log", self._headers, body)
        except urllib.error.HTTPError as answer:  # its words say what is wrong, the status is 400 for everything
            raise OSError(f"HTTP {answer.code}: {answer.read(2000).decode(errors='replace')}") from None
        if found.get("error"):
            raise OSError(str(found["error"]))


RUNS: dict[Tracker, Callable[[TrackingSpec, Naming, str | None], Run]] = {
    Tracker.MLFLOW: MlflowRun,
    Tracker.WANDB: WandbRun,
    Tracker.TRACKIO: TrackioRun,
}


class Tracking:
    """Tells a tracker of each step. `told` hears where the run is, or why the tracker knows nothing of it."""

    def __init__(self, run: Run, told: Callable[[str | None, str | None], None]) -> None:
        self._run, self._told = run, told
        self._steps: queue.Queue[Step | None] = queue.Queue()
        self._waiting: list[Step] = []
        self._opened: str | None = None
        self._succeeded = False
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """A step's numbers; those that are none are left out."""
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        self._steps.put(Step(step, finite, time.time()))

    def stop(self, succeeded: bool) -> None:
        """Sends what is left and ends the run; not for long."""
        self._succeeded = succeeded
        self._steps.put(None)
        self._thread.join(CLOSING_SECONDS)

    def _work(self) -> None:
        self._try(self._open)
        while (step := self._steps.get()) is not None:
            self._waiting = [*self._waiting, step][-HELD:]
            self._try(self._send)
        if self._try(self._send):
            self._try(lambda: self._run.close(self._succeeded))

    def _open(self) -> None:
        if self._opened is None:
            self._opened = self._run.open()
            log.info("the tracker has a run of this training", run=self._opened)

    def _send(self) -> None:
        self._open()
        if self._waiting:
            self._run.send(self._waiting)
            self._waiting = []

    def _try(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:
            said = redact(f"{type(error).__name__}: {error}")[:300]
            log.warning("the tracker was not told", error=said)
            self._told(self._opened, said)
            return False
        self._told(self._opened, None)
        return True


def tracking_of(config: TrainConfig, told: Callable[[str | None, str | None], None]) -> Tracking | None:
    """What the spec asks for, not begun yet; None where nobody is to be told, or where the key cannot be one."""
    spec = config.spec.tracking
    if spec is None:
        return None
    key = os.environ.get(TRACKER_KEY_ENV)
    try:
        key = secret_value(key) if key is not None else None
    except ValueError as error:  # the operator may not have been allowed to look at it before
        told(None, f"the key of the tracker {error}")
        return None
    settings = {
        "model": config.model,
        "algorithm": config.spec.algorithm.type.value,
        "nodes": config.spec.nodes,
        "gpusPerNode": config.spec.gpus_per_node,
        **{f"algorithm.{name}": value for name, value in config.spec.algorithm.dump().items() if name != "type"},
    }
    naming = Naming(config.owner, config.content_key, settings)
    return Tracking(RUNS[spec.type](spec, naming, key), told)


def _answer(method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> dict[str, Any]:
    """A server's answer, which has to be an object."""
    data = json.dumps(body).encode() if method == "POST" else None
    request = urllib.request.Request(url, data, dict(headers), method=method)
    with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as answer:
        found = json.loads(answer.read() or b"{}")
    if not isinstance(found, dict):
        raise ValueError("the answer is no JSON object")
    return found


def _authorization(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    if ":" in key:
        return {"Authorization": "Basic " + base64.b64encode(key.encode()).decode()}
    return {"Authorization": f"Bearer {key}"}


def _metric(name: str) -> str:
    """A name that MLflow takes, written as verl's own logger writes it."""
    return _NO_METRIC.sub("_", re.sub("/+", "/", name.replace("@", "_at_")))
