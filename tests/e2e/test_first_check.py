"""examples/first-check on an installation that follows docs/install.md: a second release beside the demo's.

The cluster has no way out, so a pod plays the hub: the page says how to name a mirror. Its files are those that the
demo put into the store. Needs the cluster that `make demo` leaves running; takes about a quarter of an hour.
"""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from apiserver.install_page import FIRST_CHECK, ROOT, commands, documents, values
from cluster.kube import Kubectl
from cluster.paths import cache_dir
from cluster.pins import binary_path
from demo import manifests
from demo.settings import BASE_MODEL, NAMESPACE, STORE_SECRET

SPACE, SYSTEM, ROUND = "flywheel", "first-check-system", "first-check"
REPO, HUB = "HuggingFaceTB/SmolLM2-135M-Instruct", f"http://hub.{NAMESPACE}.svc:{manifests.STANDIN_PORT}"
SOURCES = {name: Path(__file__).parents[1] / name for name in ("contract/hub.py", "contract/thread_server.py")}
VALUES = {"operator": "operator", "jobs": "jobs", "ray-cpu": "rayCpu"}
PATIENCE_S = 3600


def helm(kube: Kubectl, *args: str) -> None:
    """Helm as the page calls it, from a checkout, in the cluster of `kube`."""
    command = [str(binary_path("helm")), f"--kubeconfig={kube.kubeconfig}", *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def install(kube: Kubectl, images: Mapping[str, str], folder: Path) -> None:
    """The page's Helm command and values; only where the release lives and the images' names are this cluster's."""
    (folder / "values-mine.yaml").write_text(values())
    line = next(c for c in commands() if c.startswith("helm upgrade --install flywheel "))
    line = line.replace("flywheel-system", SYSTEM).replace("values-mine.yaml", str(folder / "values-mine.yaml"))
    local = [f"--set-string=images.{VALUES[name]}={images[name]}" for name in VALUES]
    helm(kube, *shlex.split(line)[1:], "--hide-notes", "--set=crds.enabled=false", *local)
    kube.run("-n", SYSTEM, "rollout", "status", "deployment/flywheel", "--timeout=180s", timeout_s=200)


def store_secret(kube: Kubectl) -> dict[str, Any]:
    """The demo's own store under another prefix: nothing of the demo's rounds is found again there."""
    found = kube.get("secret", STORE_SECRET, NAMESPACE)
    assert found is not None
    known = {key: base64.b64decode(value).decode() for key, value in found["data"].items()}
    return manifests.secret(STORE_SECRET, SPACE, known | {"prefix": ROUND})


def hub(image: str) -> list[dict[str, Any]]:
    """A pod beside the demo's store that plays the hub with the demo's base model, and the programs that it runs."""
    texts = {name.replace("/", "."): path.read_text() for name, path in SOURCES.items()}
    texts["hub_server.py"] = Path(__file__).with_name("hub_server.py").read_text()
    meta = {"name": "hub", "namespace": NAMESPACE}
    programs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": texts}
    command = ["python", "/programs/hub_server.py", REPO, f"s3://flywheel/flywheel/models/{BASE_MODEL}"]
    deployment, service = manifests.server("hub", NAMESPACE, image, command, [], f"/api/models/{REPO}", "3Gi")
    pod = deployment["spec"]["template"]["spec"]
    items = [{"key": name.replace("/", "."), "path": name} for name in SOURCES]
    items.append({"key": "hub_server.py", "path": "hub_server.py"})
    pod["volumes"].append({"name": "programs", "configMap": {"name": "hub", "items": items}})
    pod["containers"][0]["volumeMounts"].append({"name": "programs", "mountPath": "/programs"})
    return [programs, deployment, service]


def first_check(jobs: str) -> list[dict[str, Any]]:
    """The example's objects with what the page tells a person to change: the registry, and a mirror of the hub."""
    found = documents(FIRST_CHECK)
    for body in found:
        if body["kind"] == "Deployment":
            body["spec"]["template"]["spec"]["containers"][0]["image"] = jobs
        if body["kind"] == "FlywheelRound":
            body["spec"]["base"]["hub"] = {"endpoint": HUB}
    return found


@pytest.fixture
def installed(kube: Kubectl, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """A release of its own; the references of its images."""
    images = {k: v["ref"] for k, v in json.loads((cache_dir() / "images" / "images.json").read_text()).items()}
    remove(kube)
    install(kube, images, tmp_path)
    try:
        yield images
    finally:
        remove(kube)


def remove(kube: Kubectl) -> None:
    """The round with its children first, as the page says, then the release and its namespaces."""
    if kube.get("namespace", SPACE):
        kube.delete("flywheelround", ROUND, SPACE)
    if kube.get("namespace", SYSTEM):
        helm(kube, "uninstall", "flywheel", f"--namespace={SYSTEM}", "--ignore-not-found", "--wait")
    for name in (SPACE, SYSTEM):
        kube.delete("namespace", name)
    kube.run("-n", NAMESPACE, "delete", "deployment,service,configmap", "hub", "--ignore-not-found")


@pytest.mark.timeout(PATIENCE_S + 600)
def test_the_first_check_on_a_fresh_installation(kube: Kubectl, installed: Mapping[str, str]) -> None:
    kube.apply([store_secret(kube), *hub(installed["jobs"])])
    kube.run("-n", NAMESPACE, "rollout", "status", "deployment/hub", "--timeout=300s", timeout_s=320)
    kube.apply(first_check(installed["jobs"]))
    status = followed(kube)
    print(kube.run("-n", SPACE, "get", "flywheelrounds"), flush=True)
    assert status["verdict"] in ("Promoted", "Held"), status.get("progress")
    assert status["baseModel"]["uri"].startswith(f"hf://{REPO}@"), "pinned to a commit"
    done = {s["name"] for s in status["stages"] if s["state"] == "Succeeded"}
    assert {"ImportModel", "TrainReasoning", "Gate", "Report"} <= done
    assert not any("reusedFrom" in s for s in status["stages"])


def followed(kube: Kubectl) -> dict[str, Any]:
    """The round's status once it is over; says each stage as it ends."""
    told: set[str] = set()
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        status: dict[str, Any] = (kube.get("flywheelround", ROUND, SPACE) or {}).get("status", {})
        for stage in status.get("stages", []):
            if stage["state"] in ("Succeeded", "Failed") and stage["name"] not in told:
                told.add(stage["name"])
                print(f"{time.strftime('%H:%M:%S')} {stage['name']} {stage['state']}", flush=True)
        if status.get("finishedAt"):
            return status
        time.sleep(5)
    raise AssertionError(f"the round was not over after {PATIENCE_S} s: {status}")
