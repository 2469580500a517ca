"""The two operators under the same load, each a process of its own: ours, and KubeRay's."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apiserver.operator_process import OperatorProcess
from cluster.build import ensure
from cluster.process import die_with_parent, free_ports, loopback_env, wait_for
from perf.meter import page, total


class Flywheel:
    """Our operator with its default configuration."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._operator = OperatorProcess(kubeconfig, folder)

    @property
    def pid(self) -> int:
        """Of the present life."""
        assert self._operator.process is not None
        return self._operator.process.pid

    def start(self) -> None:
        """Returns when its probe answers."""
        self._operator.start()

    def kill(self) -> None:
        """SIGKILL."""
        self._operator.kill()

    def looks(self) -> tuple[float, float]:
        """(looks that ended well since its start, keys that wait or are looked at)."""
        text = self._operator.page("/metrics") or ""
        done = total(text, "flywheel_reconciles_total", outcome="ok")
        return done, total(text, "flywheel_queue_depth") if text else 1.0


class KubeRay:
    """KubeRay's operator; `flags` over its defaults (one worker, 100 requests/s, bursts of 200)."""

    def __init__(self, kubeconfig: Path, folder: Path, flags: tuple[str, ...] = ()) -> None:
        self._kubeconfig, self._folder, self._flags = kubeconfig, folder, flags
        self._process: subprocess.Popen[bytes] | None = None
        self._metrics = 0

    @property
    def pid(self) -> int:
        """Of the present life."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when its probe answers."""
        self._metrics, probe = free_ports(2)
        command = [
            str(ensure("kuberay-operator")["kuberay-operator"]),
            f"--metrics-addr=127.0.0.1:{self._metrics}",
            f"--health-probe-bind-address=127.0.0.1:{probe}",
            "--enable-leader-election=false",
            *self._flags,
        ]
        env = loopback_env({"KUBECONFIG": str(self._kubeconfig)})
        with (self._folder / "kuberay.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=env, stdout=log, stderr=log, preexec_fn=die_with_parent)
        wait_for("KubeRay's operator", lambda: bool(page(f"http://127.0.0.1:{probe}/healthz")), 60)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def looks(self) -> tuple[float, float]:
        """(looks that ended well since its start, keys that wait or are looked at)."""
        text, name = page(f"http://127.0.0.1:{self._metrics}/metrics"), "raycluster"
        done = total(text, "controller_runtime_reconcile_total", controller=name, result="success")
        done += total(text, "controller_runtime_reconcile_total", controller=name, result="requeue_after")
        waits = total(text, "workqueue_depth", name=name)
        return done, waits + total(text, "controller_runtime_active_workers", controller=name) if text else 1.0


Subject = Flywheel | KubeRay


@contextmanager
def working(subject: Subject) -> Iterator[Subject]:
    """The operator for the length of a block."""
    subject.start()
    try:
        yield subject
    finally:
        subject.kill()


def restart(subject: Subject, objects: int, seconds: float) -> dict[str, float | int | None]:
    """SIGKILL, start, and the time until each object was looked at and nothing waits; None when it takes longer."""
    subject.kill()
    began = time.monotonic()
    subject.start()
    ready, done = time.monotonic() - began, 0.0
    steady: float | None = None
    while steady is None and time.monotonic() < began + seconds:
        done, waiting = subject.looks()
        if done >= objects and waiting == 0:
            steady = round(time.monotonic() - began, 2)
        else:
            time.sleep(0.1)
    return {"owners": objects, "probe_s": round(ready, 2), "steady_s": steady, "looks": int(done)}
