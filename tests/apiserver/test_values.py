"""Values as people write them: each set rendered by Helm, read by the operator, and taken by a real API server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.chart_values import BASE, DIGEST, REFUSED, TAKEN, Case
from apiserver.dry_run import DryRun
from cluster.apiserver import start_apiserver
from cluster.pins import binary_path
from flywheel_operator.config_file import load_config

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

CHART = Path(__file__).parents[2] / "charts" / "flywheel"
Object = dict[str, Any]
ALIASES = ("flywheel-eu", "flywheelUS", "flywheel_asia")
MONITORS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: ServiceMonitor, plural: servicemonitors}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


def template(case: Case, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    files = []
    for name, text in (("base", BASE), ("mine", case.values)):
        (folder / f"{name}.yaml").write_text(text)
        files += ["--values", str(folder / f"{name}.yaml")]
    command = [str(binary_path("helm")), "template", case.release, str(CHART), "-n", case.namespace, *files, *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(case: Case, folder: Path) -> list[Object]:
    done = template(case, folder)
    assert done.returncode == 0, done.stderr
    return [body for body in yaml.load_all(done.stdout, yaml.CSafeLoader) if body]


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DryRun]:
    if not binary_path("helm").exists():
        pytest.skip("helm is not built; `python -m cluster build --only helm` builds it")
    with start_apiserver(tmp_path_factory.mktemp("apiserver")) as api:
        api.kubectl("apply", "-f", "-", stdin=MONITORS)
        names = {"flywheel-system", "team-a", "123", "007", "on", *(f"team-{n}" for n in range(20))}
        body = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(names)]
        api.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": body}))
        api.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        found = DryRun(api.kubeconfig)
        yield found
        found.close()


@pytest.fixture(scope="module")
def seen() -> set[str]:
    """Objects that the server has taken already: many sets render the same ones."""
    return set()


@pytest.mark.parametrize("name", TAKEN)
def test_the_api_server_takes_it_and_the_operator_reads_its_configuration(
    dry: DryRun, seen: set[str], tmp_path: Path, name: str
) -> None:
    case = TAKEN[name]
    objects = rendered(case, tmp_path)
    for body in objects:
        text = json.dumps(body, sort_keys=True)
        if text not in seen:
            dry.apply(body)
            seen.add(text)
    (tmp_path / "config.yaml").write_text(only(objects, "ConfigMap")["data"]["config.yaml"])
    load_config(str(tmp_path / "config.yaml"))
    for body in objects:
        if not body["kind"].startswith("Cluster") and body["kind"] not in ("CustomResourceDefinition", "Namespace"):
            assert body["metadata"]["namespace"], body["kind"]
        if body["kind"] == "Service":  # as servers before 1.34 want it
            assert re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", body["metadata"]["name"])
        if body["kind"].startswith("ClusterRole"):
            assert body["metadata"]["name"].startswith(f"{case.namespace}:")
    deployment = only(objects, "Deployment")["spec"]
    assert deployment["selector"]["matchLabels"].items() <= deployment["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_before_anything_is_installed(tmp_path: Path, name: str) -> None:
    values, words = REFUSED[name]
    done = template(Case(values), tmp_path)
    assert done.returncode != 0
    assert words in done.stderr, done.stderr
    assert "canary" not in done.stderr, "a secret is quoted"


def only(objects: list[Object], kind: str) -> Object:
    (found,) = (body for body in objects if body["kind"] == kind)
    return found


def pod_of(name: str, folder: Path) -> Object:
    pod: Object = only(rendered(TAKEN[name], folder), "Deployment")["spec"]["template"]
    return pod


def config_of(name: str, folder: Path) -> Object:
    text = only(rendered(TAKEN[name], folder), "ConfigMap")["data"]["config.yaml"]
    loaded: Object = yaml.safe_load(text)
    return loaded


def test_there_are_enough_sets() -> None:
    assert len(TAKEN) + len(REFUSED) >= 110


def test_a_null_section_is_the_default(tmp_path: Path) -> None:
    plain = rendered(TAKEN["nothing but what is needed"], tmp_path)
    for section in ("config", "operator", "rbac", "networkPolicy", "metrics", "networkPolicy.kuberay", "config.gpu"):
        assert rendered(TAKEN[f"null {section}"], tmp_path) == plain, section


def test_common_labels_are_on_everything_and_ours_stay(tmp_path: Path) -> None:
    for name in ("common labels", "CRDs with labels"):
        for body in rendered(TAKEN[name], tmp_path):
            assert body["metadata"]["labels"]["cost-center"] == "4711", body["kind"]
    pod = pod_of("common labels", tmp_path)
    assert pod["metadata"]["labels"] | {"team": "ml", "spot": "true"} == pod["metadata"]["labels"]
    assert config_of("common labels", tmp_path)["commonLabels"] == {"cost-center": 4711, "team": "ml", "spot": True}
    assert (
        pod_of("common labels that select", tmp_path)["metadata"]["labels"]["app.kubernetes.io/instance"] == "flywheel"
    )
    assert pod_of("common annotations", tmp_path)["metadata"]["annotations"]["build"] == "20261126"


def test_scalars_are_written_as_people_wrote_them(tmp_path: Path) -> None:
    env = {
        e["name"]: e.get("value") for e in pod_of("environment as a number", tmp_path)["spec"]["containers"][0]["env"]
    }
    assert (env["PORT"], env["LONG"]) == ("8080", "137438953472")
    labels = pod_of("pod labels as numbers", tmp_path)["metadata"]["labels"]
    assert (labels["cost-center"], labels["spot"]) == ("4711", "false") and "gone" not in labels
    annotations = pod_of("pod annotation of the checksum", tmp_path)["metadata"]["annotations"]
    assert len(annotations["checksum/config"]) == 64


def test_numbers_in_config_reach_the_operator_as_text(tmp_path: Path) -> None:
    text = only(rendered(TAKEN["numbers in config"], tmp_path), "ConfigMap")["data"]["config.yaml"]
    (tmp_path / "c").write_text(text)
    trainer = load_config(str(tmp_path / "c")).gpu.trainer
    assert trainer.worker.requests == {"cpu": "32", "memory": "549755813888"}
    assert trainer.worker.limits == {"nvidia.com/gpu": "8", "memory": "1.5Ti"}
    assert trainer.shm_size == "137438953472"
    assert trainer.env == {"NCCL_IB_DISABLE": "1", "DEBUG": "true"}
    assert trainer.head_ray_start_params["num-cpus"] == "16"
    assert trainer.pod.labels == {"cost-center": "4711"}
    assert trainer.pod.node_selector == {"nvidia.com/gpu.present": "true"}
    assert trainer.pod.annotations == {"sidecar.istio.io/inject": "false"}
    text = only(rendered(TAKEN["a default variable unset"], tmp_path), "ConfigMap")["data"]["config.yaml"]
    (tmp_path / "c").write_text(text)
    assert "RAY_DEDUP_LOGS" not in load_config(str(tmp_path / "c")).cpu.trainer.env


def test_kuberays_peers_are_replaced_as_a_whole(tmp_path: Path) -> None:
    def dashboard(name: str) -> list[Object]:
        policies = {body["metadata"]["name"]: body for body in rendered(TAKEN[name], tmp_path)}
        rules = policies["flywheel-ray"]["spec"]["ingress"]
        return [rule for rule in rules if {"port": 8265, "protocol": "TCP"} in rule.get("ports", [])]

    own = {"podSelector": {"matchLabels": {"app": "kuberay-operator"}}, "namespaceSelector": {}}
    assert [rule["from"] for rule in dashboard("KubeRay by one's own labels")] == [[own]]
    assert [len(rule["from"]) for rule in dashboard("KubeRay in two places")] == [2]
    assert dashboard("KubeRay shut out") == []


def test_images_by_digest(tmp_path: Path) -> None:
    assert (
        pod_of("digests", tmp_path)["spec"]["containers"][0]["image"]
        == f"registry.example.com/flywheel/operator@{DIGEST}"
    )
    config = config_of("digests", tmp_path)
    assert config["gpu"]["trainer"]["image"] == f"registry.example.com/flywheel/trainer-gpu@{DIGEST}"
    assert config["job"]["image"] == "registry.example.com/flywheel/jobs:0.1.0"


def test_port_and_user_are_those_of_the_configuration(tmp_path: Path) -> None:
    objects = rendered(TAKEN["another port and user"], tmp_path)
    pod = only(objects, "Deployment")["spec"]["template"]["spec"]
    assert [port["containerPort"] for port in pod["containers"][0]["ports"]] == [9090]
    assert {pod["securityContext"][who] for who in ("runAsUser", "runAsGroup", "fsGroup")} == {1000650000}
    policy = next(body for body in objects if body["metadata"]["name"] == "flywheel-operator")
    assert policy["spec"]["ingress"][0]["ports"] == [{"port": 9090, "protocol": "TCP"}]
    plain = pod_of("nothing but what is needed", tmp_path)["spec"]
    assert (plain["containers"][0]["ports"][0]["containerPort"], plain["securityContext"]["runAsUser"]) == (8080, 10001)


def test_the_stores_secret_may_always_be_read(tmp_path: Path) -> None:
    for name, names in {
        "another store's name": ["flywheel-s3", "minio-creds"],
        "another store's name, listed": ["s", "teacher"],
        "no Secret listed": ["flywheel-s3"],
    }.items():
        rules = only(rendered(TAKEN[name], tmp_path), "Role")["rules"]
        assert [rule["resourceNames"] for rule in rules if rule["resources"] == ["secrets"]] == [names]


def test_the_new_pod_must_be_ready_before_the_old_one_goes(tmp_path: Path) -> None:
    spec = only(rendered(TAKEN["nothing but what is needed"], tmp_path), "Deployment")["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert spec["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_two_releases_of_one_name_share_no_name(tmp_path: Path) -> None:
    def names(namespace: str) -> set[tuple[str, str, str]]:
        case = Case(f"namespaces: [team-{namespace}]", namespace=namespace)
        found = [(body["kind"], body["metadata"]) for body in rendered(case, tmp_path)]
        return {(kind, meta.get("namespace", ""), meta["name"]) for kind, meta in found}

    assert not names("fw-a") & names("fw-b")


def test_a_chart_may_hold_several_of_this_one(tmp_path: Path) -> None:
    parent = tmp_path / "platform"
    shutil.copytree(CHART, parent / "charts" / "flywheel")
    both = [{"name": "flywheel", "version": "0.1.0", "alias": alias} for alias in ALIASES]
    meta = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": both}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(meta))
    values = {
        alias: {"images": {"registry": "r"}, "namespaces": [f"team-{n}"], "crds": {"enabled": n == 0}}
        for n, alias in enumerate(ALIASES)
    }
    (parent / "values.yaml").write_text(yaml.safe_dump(values))
    command = [str(binary_path("helm")), "template", "ml", str(parent), "-n", "ml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    objects = [body for body in yaml.load_all(done.stdout, yaml.CSafeLoader) if body]
    names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[-a-z0-9.:]+", name) for _, _, name in names)
    selected = (o["spec"]["selector"]["matchLabels"] for o in objects if o["kind"] == "Deployment")
    assert len({*map(json.dumps, selected)}) == len(ALIASES)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_chart_that_holds_this_one_switches_it_by_condition(tmp_path: Path, enabled: bool) -> None:
    parent = tmp_path / "platform"
    shutil.copytree(CHART, parent / "charts" / "flywheel")
    dependency = {"name": "flywheel", "version": "0.1.0", "condition": "flywheel.enabled"}
    meta = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(meta))
    values = {"flywheel": {"enabled": enabled, "images": {"registry": "r"}, "config": None, "networkPolicy": None}}
    (parent / "values.yaml").write_text(yaml.safe_dump(values))
    command = [str(binary_path("helm")), "template", "ml", str(parent), "-n", "ml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    objects = [body for body in yaml.load_all(done.stdout, yaml.CSafeLoader) if body]
    assert bool(objects) is enabled
    if enabled:
        assert only(objects, "Deployment")["metadata"]["name"] == "ml-flywheel"
