"""Watches of the demo's objects: every change with the time at which it arrived."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster.kube import Kubectl
from cluster.process import loopback_env
from demo.settings import NAMESPACE

RESOURCES = {
    "FlywheelRound": f"/apis/flywheel.dev/v1alpha1/namespaces/{NAMESPACE}/flywheelrounds",
    "RLJob": f"/apis/flywheel.dev/v1alpha1/namespaces/{NAMESPACE}/rljobs",
    "RolloutPool": f"/apis/flywheel.dev/v1alpha1/namespaces/{NAMESPACE}/rolloutpools",
    "Job": f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs",
}
Arrival = tuple[float, str, str, dict[str, Any]]  # unix time, kind, type of the event, object


@contextmanager
def watching(kube: Kubectl, *kinds: str) -> Iterator[queue.Queue[Arrival]]:
    """Events of those kinds as they arrive; what exists already comes first.

    And again when a watch had to reconnect: the API server ends each after half an hour or more.
    """
    arrivals: queue.Queue[Arrival] = queue.Queue()
    stop = threading.Event()
    processes: dict[str, subprocess.Popen[str]] = {}

    def read(kind: str) -> None:
        command = kube.command("get", "--raw", f"{RESOURCES[kind]}?watch=1")
        while not stop.is_set():
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=loopback_env()
            ) as process:
                processes[kind] = process
                assert process.stdout is not None
                for line in process.stdout:
                    if stop.is_set():  # the line may have been cut
                        break
                    event = json.loads(line)
                    arrivals.put((time.time(), kind, event["type"], event["object"]))
            stop.wait(0.5)

    threads = [threading.Thread(target=read, args=(kind,), daemon=True) for kind in kinds]
    for thread in threads:
        thread.start()
    try:
        yield arrivals
    finally:
        stop.set()
        for process in processes.values():
            process.terminate()
        for thread in threads:
            thread.join(10)
