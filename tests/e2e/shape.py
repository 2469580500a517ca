"""The GPU flavour's shape without GPUs: the RLJob, the chart's values that say what is different, the node's GPUs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.kube import Kubectl
from cluster.paths import cache_dir
from cluster.pins import binary_path
from cluster.process import wait_for
from demo import jobs, manifests
from demo.settings import BASE_MODEL, NAMESPACE, RELEASE, SYSTEM_NAMESPACE

Json = dict[str, Any]

VALUES = Path(__file__).with_name("gpu-shape.yaml")
NAME = "e2e-gpu-shape"
NODES = 2
STEPS = 5
GPU = "nvidia.com/gpu"
MODEL = f"s3://flywheel/flywheel/models/{BASE_MODEL}"
PATIENCE_S = 5400
WORKERS = "ray.io/group=gpu"
# problems of the demo's families as Package writes them: argv is the store's key, then how many
PUT_ROWS = """
import os, random, sys
from flywheel_api.records.prompt import of_problem
from flywheel_api.results import Split
from flywheel_jobs.seeds import numeracy
from flywheel_jobs.stages import package
from flywheel_store.bucket import S3Bucket
from flywheel_store.settings import from_env
settings, split = from_env(os.environ), sys.argv[3]
made = numeracy.seeds(random.Random(split), int(sys.argv[2]), ("add", "sub"))
rows = [package.Example(f"row {n}", of_problem(problem)) for n, problem in enumerate(made)]
data = package.parquet([p.row() for p in package.numbered(rows, Split(split))])
S3Bucket(settings).put(sys.argv[1], data, "application/octet-stream")
print("DATA AT", settings.uri(sys.argv[1]))
"""
# the published model as anybody reads it: loads, answers, and differs from its base
READ_MODEL = """
import subprocess, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
for ref, to in ((sys.argv[1], "/models/new"), (sys.argv[2], "/models/base")):
    subprocess.run([sys.executable, "-m", "flywheel_jobs", "fetch-model", "--model", ref, "--to", to], check=True)
new, base = (AutoModelForCausalLM.from_pretrained(f"/models/{n}", dtype=torch.bfloat16) for n in ("new", "base"))
tokenizer = AutoTokenizer.from_pretrained("/models/new")
asked = tokenizer("2+4=", return_tensors="pt")
said = tokenizer.decode(new.generate(**asked, max_new_tokens=4, do_sample=False)[0])
pairs = list(zip(new.parameters(), base.parameters(), strict=True))
changed = sum(int((a != b).sum()) for a, b in pairs)
print("MODEL READ", sum(a.numel() for a, _ in pairs), "weights,", changed, "changed; it says", repr(said))
"""


def spec(model: str, train: str, validation: str) -> Json:
    """Two nodes of one GPU each, four steps of the demo's problems, a checkpoint after each."""
    return {
        "model": model,
        "data": {"train": [train], "validation": [validation]},
        "algorithm": {
            "type": "GRPO",
            "groupSize": 4,
            "promptsPerStep": 4,
            "miniBatchPrompts": 4,
            "learningRate": "2e-5",
            "maxSteps": STEPS,
            "maxPromptTokens": 128,
            "maxResponseTokens": 16,
        },
        "reward": {"type": "Math"},
        "nodes": NODES,
        "gpusPerNode": 1,
        "checkpoint": {"everySteps": 1, "keepLast": 2, "keepBest": 1},
        "retries": {"limit": 1},
        "wallClock": "90m",
        "reuse": "Never",
    }


def job(train: str, validation: str) -> Json:
    """The RLJob of the test."""
    return {
        "apiVersion": "flywheel.dev/v1alpha1",
        "kind": "RLJob",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": spec(MODEL, train, validation),
    }


# ---- the cluster ---------------------------------------------------------------------------------------------------
def helm(kube: Kubectl, *args: str | Path) -> str:
    """helm's answer. Raises AssertionError with its own words."""
    where = ["--namespace", SYSTEM_NAMESPACE, "--kubeconfig", str(kube.kubeconfig)]
    home = {name: str(cache_dir() / "helm") for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME")}
    command = [str(binary_path("helm")), *map(str, args), *where]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **home})
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(kube: Kubectl, chart: Path) -> Json:
    """The shape's values on the running release; the images that it runs, by the chart's names."""
    images: Json = json.loads(helm(kube, "get", "values", RELEASE, "--output", "json"))["images"]
    own = ("--values", VALUES, "--set-string", f"images.trainerGpu={images['rayCpu']}")
    helm(kube, "upgrade", RELEASE, chart, "--reuse-values", "--wait", "--timeout", "3m", *own)
    return images


def restore(kube: Kubectl) -> None:
    """The release as it was before `install`."""
    helm(kube, "rollback", RELEASE, "--wait", "--timeout", "3m")


def offer(kube: Kubectl, gpus: int) -> None:
    """GPUs of the node, as numbers: no device plugin, no device."""
    node = kube.run("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    patch = {"status": {"capacity": {GPU: str(gpus) if gpus else None}}}
    kube.run("patch", "node", node, "--subresource=status", "--type=merge", "-p", json.dumps(patch))

    def offered() -> bool:
        found = kube.get("node", node) or {}
        return str(found["status"]["allocatable"].get(GPU, "0")) == str(gpus)

    wait_for(f"{gpus} GPUs on the node", offered, 60, 1)


def put_rows(kube: Kubectl, image: str, split: str, count: int) -> str:
    """Where the rows are in the store."""
    name = f"e2e-rows-{split}"
    kube.delete("job", name, NAMESPACE)
    arguments = ["-c", PUT_ROWS, f"e2e/gpu-shape/{split}.parquet", str(count), split]
    said = jobs.run(kube, manifests.job(name, NAMESPACE, image, arguments), 180, "")
    return said.partition("DATA AT ")[2].split()[0]


def read_model(kube: Kubectl, image: str, digest: str) -> str:
    """What transformers makes of a published model."""
    kube.delete("job", "e2e-read-model", NAMESPACE)
    body = manifests.job("e2e-read-model", NAMESPACE, image, ["-c", READ_MODEL, digest, MODEL], memory="4Gi")
    return jobs.run(kube, body, 300, "").partition("MODEL READ ")[2].strip()


def rival(image: str) -> list[Json]:
    """A pod that is worth more than a training, for one GPU and a few seconds."""
    body = manifests.job("e2e-rival", NAMESPACE, image, ["-c", "import time; time.sleep(5)"])
    pod = body["spec"]["template"]["spec"]
    pod["priorityClassName"] = "e2e-rival"
    for kind in ("requests", "limits"):
        pod["containers"][0]["resources"][kind][GPU] = "1"
    urgent = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "e2e-rival"},
        "value": 1000,
    }
    return [urgent, body]


def quota(gpus: int) -> Json:
    """A ResourceQuota for GPUs in the namespace."""
    spec = {"hard": {f"requests.{GPU}": str(gpus)}}
    meta = {"name": "e2e-gpus", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": spec}


# ---- the training --------------------------------------------------------------------------------------------------
def statuses(kube: Kubectl) -> Iterator[Json]:
    """The RLJob's status every two seconds until it is over. Raises AssertionError after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    status: Json = {}
    while time.monotonic() < deadline:
        status = (kube.get("rljob", NAME, NAMESPACE) or {}).get("status") or {}
        yield status
        if status.get("finishedAt"):
            return
        time.sleep(2)
    raise AssertionError(f"{NAME} was not over after {PATIENCE_S} s: {status}")


def workers(kube: Kubectl) -> list[str]:
    """Names of the running worker pods, by address: the order of verl's ranks."""
    pods = kube.list("pod", NAMESPACE, f"{WORKERS},flywheel.dev/owner-name={NAME}")
    live = [p for p in pods if "deletionTimestamp" not in p["metadata"] and p["status"]["phase"] == "Running"]
    return [p["metadata"]["name"] for p in sorted(live, key=lambda p: str(p["status"]["podIP"]))]


def checkpoints_on(kube: Kubectl, pod: str) -> list[str]:
    """Files of local checkpoints in a pod, below their folder."""
    find = "cd /tmp/flywheel/*/checkpoints 2>/dev/null && find . -type f -not -name '.*' || true"
    code, out, _ = kube.try_run("-n", NAMESPACE, "exec", pod, "-c", "ray-worker", "--", "sh", "-c", find)
    return sorted(line.removeprefix("./") for line in out.splitlines()) if code == 0 else []
