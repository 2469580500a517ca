"""Everything between an empty machine and a cluster with Flywheel in it. Each step finds out what is left to do."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from cluster import node
from cluster.addons import MINIO_NAMESPACE
from cluster.kube import Kubectl, is_true
from cluster.paths import cache_dir
from cluster.pins import binary_path
from cluster.process import wait_for
from cluster.steps import Steps
from demo import jobs, manifests, needs
from demo.errors import DemoError
from demo.settings import IMAGES, RELEASE, ROOT, STORE_SECRET, SYSTEM_NAMESPACE, Settings
from demo.shell import module, python_env, stream

TOOLS = {"kubectl": "install it as your cluster's documentation says", "helm": "install Helm 3.14 or newer"}
BUCKET = "flywheel"
VALUE_OF_IMAGE = {"operator": "operator", "jobs": "jobs", "ray-cpu": "rayCpu"}
AGAIN = "Fix that and run `make demo` again: it goes on where it stopped."


def local(settings: Settings, steps: Steps) -> tuple[Kubectl, Mapping[str, str]]:
    """A running local cluster with Flywheel, and the references of its images."""
    with steps.step("what the machine has") as note:
        needs.check((*needs.BUILDS, needs.check_root))
        note("all there")
    with steps.step("Kubernetes, KubeRay, MinIO and Helm from pinned Go modules (the first time about 15 minutes)"):
        stream(module("cluster", "build"), settings.logs / "build.log", advice=AGAIN)
    with steps.step("images (the first time about 5 minutes)"):
        images = build_images(settings)
    with steps.step("the node"):
        stream(module("cluster", "up"), settings.logs / "cluster.log", advice=AGAIN)
        kube = node.kubectl()
    with steps.step("KubeRay and MinIO"):
        stream(module("cluster", "addons"), settings.logs / "addons.log", advice=AGAIN)
    with steps.step("images into the node"):
        stream(module("cluster", "load-built", *IMAGES), settings.logs / "load.log", advice=AGAIN)
    refs = {name: images[name]["ref"] for name in IMAGES}
    flywheel(kube, settings, steps, refs, binary_path("helm"))
    return kube, refs


def build_images(settings: Settings, defaults: Mapping[str, str] | None = None) -> dict[str, dict[str, str]]:
    """`make images`, and its list; `defaults`: variables of the build that the user has not set."""
    unset = {name: value for name, value in (defaults or {}).items() if not os.environ.get(name)}
    command = [sys.executable, str(ROOT / "images" / "build.py"), *IMAGES]
    stream(command, settings.logs / "images.log", python_env(unset), AGAIN)
    return dict(json.loads((cache_dir() / "images" / "images.json").read_text()))


def flywheel(kube: Kubectl, settings: Settings, steps: Steps, images: Mapping[str, str], helm: Path) -> None:
    """Flywheel in a cluster of the demo's own, with the cluster's MinIO as its store."""
    with steps.step("Flywheel, by its Helm chart"):
        install_chart(kube, settings, images, helm, settings.chart / "values-local.yaml")
    with steps.step("credentials, bucket, base model, stand-in") as note:
        make_local_secret(kube, settings)
        note(prepare(kube, settings, images))


def existing(settings: Settings, steps: Steps) -> tuple[Kubectl, Mapping[str, str]]:
    """Flywheel in the user's own cluster, with the store that its Secret or the environment names."""
    kube = kubectl_of(settings)
    with steps.step("what the cluster has") as note:
        note(check_cluster(kube))
    with steps.step("Flywheel, by its Helm chart"):
        install_chart(kube, settings, settings.images, needs.tool("helm", TOOLS["helm"]), settings.values)
    with steps.step("credentials of the store") as note:
        note(make_given_secret(kube, settings))
    with steps.step("base model and stand-in") as note:
        note(prepare(kube, settings, settings.images))
    return kube, settings.images


def kubectl_of(settings: Settings) -> Kubectl:
    """The user's own kubectl for the user's own cluster. Raises DemoError if there is none."""
    assert settings.kubeconfig is not None
    return Kubectl(needs.tool("kubectl", TOOLS["kubectl"]), settings.kubeconfig)


def check_cluster(kube: Kubectl) -> str:
    """The cluster's version. Raises DemoError when it cannot be reached or has no KubeRay."""
    code, out, err = kube.try_run("version", "-o", "json", timeout_s=20)
    if code:
        raise DemoError(f"the cluster of {kube.kubeconfig} does not answer: {err.strip()}")
    if kube.get("crd", "rayclusters.ray.io") is None:
        raise DemoError(
            "the cluster has no KubeRay: install its operator 1.6 or newer with its Helm chart (kuberay-operator), "
            "then run this again"
        )
    return f"Kubernetes {json.loads(out)['serverVersion']['gitVersion']}, KubeRay"


def install_chart(
    kube: Kubectl, settings: Settings, images: Mapping[str, str], helm: Path, values: Path | None
) -> None:
    """helm upgrade --install, then waits until the operator is Available."""
    kube.apply([manifests.namespace(SYSTEM_NAMESPACE)])
    command: list[str | Path] = [helm, "upgrade", "--install", "--hide-notes", RELEASE, settings.chart]
    command += ["--namespace", SYSTEM_NAMESPACE]
    command += ["--kubeconfig", kube.kubeconfig]
    for file in (values, settings.values if values != settings.values else None):
        command += ["--values", file] if file else []
    for name, value in VALUE_OF_IMAGE.items():
        command += ["--set-string", f"images.{value}={images[name]}"]
    command += ["--set", f"namespaces={{{settings.namespace}}}"]
    if settings.existing:
        # the GPU images, which the demo does not use, are looked for beside the operator's
        command += ["--set-string", f"images.registry={images['operator'].rpartition('/')[0] or 'localhost'}"]
        owned = (kube.get("namespace", settings.namespace) or {}).get("metadata", {}).get("annotations") or {}
        foreign = kube.get("namespace", settings.namespace) and "meta.helm.sh/release-name" not in owned
        command += ["--set", f"createNamespaces={'false' if foreign else 'true'}"]
    clear_stuck_release(kube)
    environment = {
        **os.environ,
        "HELM_CACHE_HOME": str(cache_dir() / "helm"),
        "HELM_CONFIG_HOME": str(cache_dir() / "helm"),
    }
    stream(command, settings.logs / "helm.log", environment, AGAIN)


def clear_stuck_release(kube: Kubectl) -> None:
    """An interrupted Helm leaves its release `pending-*`, which blocks every later one: that record is removed."""
    for item in kube.list("secret", SYSTEM_NAMESPACE, f"owner=helm,name={RELEASE}"):
        if item["metadata"]["labels"].get("status", "").startswith("pending"):
            kube.delete("secret", item["metadata"]["name"], SYSTEM_NAMESPACE)


def wait_for_operator(kube: Kubectl) -> None:
    """Until the operator's Deployment is Available. Raises DemoError with what its pods say."""
    selector = f"app.kubernetes.io/instance={RELEASE}"

    def ready() -> bool:
        found = kube.list("deployment", SYSTEM_NAMESPACE, selector)
        return bool(found) and all(is_true(d, "Available") for d in found)

    def explain() -> str:
        pods = kube.try_run("-n", SYSTEM_NAMESPACE, "describe", "pods")[1]
        log = kube.try_run("-n", SYSTEM_NAMESPACE, "logs", "-l", selector, "--tail=20")[1]
        return f"\n{pods[-2500:]}\n{log}\n{AGAIN}"

    wait_for("the operator", ready, 180, 0.5, explain)


def make_local_secret(kube: Kubectl, settings: Settings) -> None:
    """The namespace's store Secret, from MinIO's own credentials; an existing one is kept."""
    wait_for("the chart's namespace", lambda: kube.get("namespace", settings.namespace) is not None, 30, 0.5)
    if kube.get("secret", STORE_SECRET, settings.namespace):
        return
    root = kube.get("secret", "minio-root", MINIO_NAMESPACE)
    if root is None:
        raise DemoError("MinIO's Secret minio-root is gone: run `make demo-down`, then `make demo`")
    data = {key: base64.b64decode(value).decode() for key, value in root["data"].items()}
    kube.apply(
        [
            manifests.secret(
                STORE_SECRET,
                settings.namespace,
                {
                    "endpoint": f"http://minio.{MINIO_NAMESPACE}.svc:9000",
                    "bucket": BUCKET,
                    "accessKey": data["MINIO_ROOT_USER"],
                    "secretKey": data["MINIO_ROOT_PASSWORD"],
                },
            )
        ]
    )


def make_given_secret(kube: Kubectl, settings: Settings, environ: Mapping[str, str] = os.environ) -> str:
    """The store Secret of the user's namespace: the one that is there, or one made from the environment."""
    if kube.get("secret", STORE_SECRET, settings.namespace):
        return f"Secret {settings.namespace}/{STORE_SECRET} is there"
    given = {
        key: environ.get(name, "") for key, name in {**manifests.STORE_ENV, **manifests.OPTIONAL_STORE_ENV}.items()
    }
    absent = [name for key, name in manifests.STORE_ENV.items() if not given[key]]
    if absent:
        raise DemoError(
            f"there is no Secret {STORE_SECRET} in namespace {settings.namespace}: make it (keys endpoint, bucket, "
            f"accessKey, secretKey; see docs/install.md), or set {', '.join(absent)} and run this again"
        )
    kube.apply([manifests.secret(STORE_SECRET, settings.namespace, {k: v for k, v in given.items() if v})])
    return f"made Secret {settings.namespace}/{STORE_SECRET} from the environment"


def put_domains(kube: Kubectl, settings: Settings, images: Mapping[str, str]) -> list[dict[str, str]]:
    """The domains that were asked for, as a round names them: the user's own lie in the store now."""
    named = []
    for own in settings.domains:
        named.append({"name": own.name})
        if own.packed:
            kube.delete("job", manifests.DOMAIN_JOB, settings.namespace)
            job = manifests.domain_job(settings.namespace, images["jobs"], own.key, own.packed)
            named[-1]["source"] = jobs.run(kube, job, 180, AGAIN).partition("DOMAIN AT ")[2].split()[0]
    return named


def prepare(kube: Kubectl, settings: Settings, images: Mapping[str, str]) -> str:
    """Bucket, base model, stand-in and the operator, side by side where they do not need each other."""
    space = settings.namespace
    kube.apply([*manifests.standin(space, images["jobs"], settings.weather)])
    # asked of the store itself: MinIO's data goes with its pod, while a finished Job stays
    kube.delete("job", manifests.CHECK_STORE_JOB, space)
    check = manifests.check_store_job(space, images["jobs"], make_bucket=not settings.existing)
    absent = "MODEL PRESENT" not in jobs.run(kube, check, 180, AGAIN)
    begun = time.monotonic()
    if absent:
        if is_true(kube.get("job", manifests.IMPORT_JOB, space), "Complete"):
            kube.delete("job", manifests.IMPORT_JOB, space)
        jobs.start(kube, manifests.import_job(space, images["ray-cpu"]))
    wait_for_operator(kube)
    wait_for("the stand-in", lambda: is_true(kube.get("deployment", "standin", space), "Available"), 180, 0.5)
    if not absent:
        return "base model was there"
    jobs.finish(kube, manifests.IMPORT_JOB, space, 900, AGAIN)
    return f"base model imported in {time.monotonic() - begun:.0f} s"
