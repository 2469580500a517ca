"""A pool on vLLM draws from the distribution that the trainer trains: the real small model, no cluster's GPU.

In a pod of the demo's cluster, with the trainer's image and the model that the demo's round began from. Where
FLYWHEEL_ML_PYTHON names a Python with vLLM and transformers and FLYWHEEL_ML_MODEL a folder, it runs there instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.kube import Kubectl
from cluster.paths import cache_dir
from demo.settings import NAMESPACE
from flywheel_api.pool import RolloutPoolSpec
from flywheel_operator.model import Meta
from flywheel_operator.settings import OperatorConfig
from golden import pool_objects

SCRIPT = Path(__file__).with_name("distributions.py")
POD, PATIENCE_S = "e2e-distributions", 1500


def here(python: str, model: str) -> dict[str, Any]:
    """What the script finds on this machine."""
    done = subprocess.run([python, str(SCRIPT), model], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def pod(model: str, image: str) -> dict[str, Any]:
    """A pool's pod, with the script in its server's place."""
    spec = RolloutPoolSpec.model_validate({"model": model, "gpusPerReplica": 0, "store": {"secretName": "flywheel-s3"}})
    service, *_ = pool_objects(OperatorConfig(), Meta(POD, NAMESPACE, "e2e", 1), spec)
    template = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
    for container in (*template["initContainers"], *template["containers"]):
        container["image"] = image
    server = template["containers"][0]
    for name in ("ports", "livenessProbe", "readinessProbe", "lifecycle"):
        server.pop(name, None)
    server |= {"name": "distributions", "command": ["python", "-c", SCRIPT.read_text(), "/models/model"]}
    meta = {"name": POD, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template | {"restartPolicy": "Never"}}


def in_the_cluster(kube: Kubectl) -> dict[str, Any]:
    """What the script finds in a pod."""
    rounds = [r for r in kube.list("flywheelround", NAMESPACE) if r.get("status", {}).get("baseModel")]
    if not rounds:
        pytest.skip("no round of the demo has a model yet: run `make demo` first")
    image = json.loads((cache_dir() / "images" / "images.json").read_text())["ray-cpu"]["ref"]
    kube.delete("pod", POD, NAMESPACE)
    kube.apply([pod(rounds[0]["status"]["baseModel"]["digest"], image)])
    try:
        deadline = time.monotonic() + PATIENCE_S
        while (phase := (kube.get("pod", POD, NAMESPACE) or {}).get("status", {}).get("phase")) != "Succeeded":
            log = kube.try_run("-n", NAMESPACE, "logs", POD, "-c", "distributions", "--tail=40")[1]
            assert phase != "Failed" and time.monotonic() < deadline, f"{phase}: {log}"
            time.sleep(5)
        said = kube.run("-n", NAMESPACE, "logs", POD, "-c", "distributions")
        return dict(json.loads(next(line for line in reversed(said.splitlines()) if line.startswith("{"))))
    finally:
        kube.delete("pod", POD, NAMESPACE)


@pytest.mark.timeout(PATIENCE_S + 120)
def test_a_pool_samples_what_the_trainer_trains(request: pytest.FixtureRequest) -> None:
    python, model = os.environ.get("FLYWHEEL_ML_PYTHON"), os.environ.get("FLYWHEEL_ML_MODEL")
    found = here(python, model) if python and model else in_the_cluster(request.getfixturevalue("kube"))
    print(found, flush=True)
    assert found["logprobs"] < 0.01, "the same text has another probability"
    assert min(found["draws"]) > 1e-4, "tokens are drawn from another distribution"
    assert max(found["habits"]) < 1e-9, "the control: this test must notice a checkpoint's habits"
