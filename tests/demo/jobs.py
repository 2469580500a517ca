"""One-shot Jobs of the demo: run, wait, and say why when one fails."""

from __future__ import annotations

import base64
import secrets
from typing import Any

from cluster.kube import Kubectl, is_true
from cluster.process import wait_for
from demo import manifests
from demo.errors import DemoError
from demo.settings import Settings


def start(kube: Kubectl, job: dict[str, Any]) -> bool:
    """Creates a Job; False when it has already succeeded. One that failed, or has another image, is replaced."""
    name, space = job["metadata"]["name"], job["metadata"]["namespace"]
    found = kube.get("job", name, space)
    if found:
        image = found["spec"]["template"]["spec"]["containers"][0]["image"]
        if is_true(found, "Complete"):
            return False
        if not is_true(found, "Failed") and image == job["spec"]["template"]["spec"]["containers"][0]["image"]:
            return True
        kube.delete("job", name, space)
    kube.apply([job])
    return True


def finish(kube: Kubectl, name: str, space: str, timeout_s: float, advice: str) -> str:
    """Waits for a Job and returns its log. Raises DemoError with the last lines of the log when it fails."""

    def explain() -> str:
        events = kube.try_run("-n", space, "events", "--for", f"job/{name}")[1]
        last = logs(kube, name, space, tail=15)
        return f"\nLast lines of its log:\n{last}\nEvents:\n{events[-1500:]}\n{advice}"

    def complete() -> bool:
        found = kube.get("job", name, space)
        if is_true(found, "Failed"):
            raise DemoError(f"Job {name} failed.{explain()}")
        return is_true(found, "Complete")

    wait_for(f"Job {name}", complete, timeout_s, 0.5, explain)
    return logs(kube, name, space)


def logs(kube: Kubectl, name: str, space: str, tail: int = -1) -> str:
    """Log of a Job's pods."""
    return kube.try_run("-n", space, "logs", f"job/{name}", f"--tail={tail}")[1]


def run(kube: Kubectl, job: dict[str, Any], timeout_s: float, advice: str) -> str:
    """A Job from start to end; its log."""
    name, space = job["metadata"]["name"], job["metadata"]["namespace"]
    start(kube, job)
    return finish(kube, name, space, timeout_s, advice)


def read_file(kube: Kubectl, settings: Settings, image: str, uri: str) -> bytes:
    """A file of the store, read by a pod: works wherever the store can be reached from."""
    name = f"read-report-{secrets.token_hex(3)}"  # its own: two terminals may look at the end of one round
    job = manifests.job(name, settings.namespace, image, ["-c", manifests.PRINT_FILE, uri])
    try:
        text = run(kube, job, 180, f"The file is still in the store: {uri}")
    finally:
        kube.delete("job", name, settings.namespace)
    _, begin, rest = text.partition("BEGIN\n")
    body, end, _ = rest.partition("END")
    if not begin or not end:
        raise DemoError(f"{uri} could not be read from the cluster; it is still there")
    return base64.b64decode(body.replace("\n", ""))
