"""Helm against a real API server: install, upgrade, uninstall; rounds survive."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.apiserver import ApiServer, start_apiserver
from cluster.pins import binary_path

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "flywheel"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    if not binary_path("helm").exists():
        pytest.skip("helm is not built; `python -m cluster build --only helm` builds it")
    with start_apiserver(tmp_path_factory.mktemp("apiserver")) as api:
        yield api


def helm(server: ApiServer, *args: str, namespace: str = "flywheel-system") -> str:
    done = attempt(server, *args, namespace=namespace)
    assert done.returncode == 0, done.stderr
    return done.stdout


def attempt(server: ApiServer, *args: str, namespace: str = "flywheel-system") -> subprocess.CompletedProcess[str]:
    folder = str(server.workdir / "helm")
    environment = {**os.environ, "HELM_CACHE_HOME": folder, "HELM_CONFIG_HOME": folder, "HELM_DATA_HOME": folder}
    command = [str(binary_path("helm")), *args, "--kubeconfig", str(server.kubeconfig), "-n", namespace]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def install(server: ApiServer, *args: str) -> str:
    values = ("-f", str(CHART / "values-local.yaml"), *args)
    return helm(server, "upgrade", "--install", "flywheel", str(CHART), "--create-namespace", *values)


def test_install_upgrade_uninstall_install(server: ApiServer) -> None:
    notes = install(server)
    assert "kubectl -n flywheel-demo apply -f round.yaml" in notes
    server.kubectl("wait", "--for=condition=Established", "crd/flywheelrounds.flywheel.dev", "--timeout=60s")
    body = yaml.safe_load((ROOT / "examples" / "round.yaml").read_text())
    server.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    install(server, "--set-json", 'config={"workers":2}')
    config = server.kubectl("-n", "flywheel-system", "get", "configmap", "flywheel", "-o", "jsonpath={.data}")
    assert "workers: 2" in config

    helm(server, "uninstall", "flywheel")
    assert server.kubectl("-n", "flywheel-demo", "get", "fwr", "-o", "name").strip().endswith("/demo-r1")
    assert "flywheel" not in server.kubectl("-n", "flywheel-system", "get", "deployments", "-o", "name")

    install(server)  # takes over what the first release kept
    server.kubectl("-n", "flywheel-system", "get", "deployment", "flywheel")


def test_an_old_crd_is_upgraded(server: ApiServer) -> None:
    install(server)
    name = "rljobs.flywheel.dev"
    patch = [{"op": "replace", "path": "/spec/versions/0/additionalPrinterColumns", "value": []}]
    server.kubectl("patch", "crd", name, "--type=json", "-p", json.dumps(patch))
    columns = "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}"
    assert server.kubectl("get", "crd", name, "-o", columns) == ""
    install(server, "--force-conflicts")
    assert "Reward" in server.kubectl("get", "crd", name, "-o", columns)


def test_a_release_of_another_name_takes_kept_crds_over(server: ApiServer) -> None:
    install(server)
    helm(server, "uninstall", "flywheel")
    values = ("--set", "images.registry=r")
    refused = attempt(server, "install", "other", str(CHART), "--create-namespace", *values, namespace="other")
    assert "cannot be imported" in refused.stderr
    again = ("--create-namespace", "--take-ownership", *values)
    helm(server, "install", "other", str(CHART), *again, namespace="other")
    helm(server, "uninstall", "other", namespace="other")


def test_two_releases_of_one_name_keep_their_rights(server: ApiServer) -> None:
    for space in ("fw-a", "fw-b"):
        values = f"images.registry=r,crds.enabled=false,namespaces={{team-{space}}},createNamespaces=true"
        helm(server, "install", "flywheel", str(CHART), "--create-namespace", "--set", values, namespace=space)
    for space in ("fw-a", "fw-b"):
        account = f"--as=system:serviceaccount:{space}:flywheel"
        assert server.kubectl("auth", "can-i", "watch", "namespaces", account).strip() == "yes"
        assert server.kubectl("auth", "can-i", "create", "jobs", account, "-n", f"team-{space}").strip() == "yes"
    helm(server, "uninstall", "flywheel", namespace="fw-a")
    other = "--as=system:serviceaccount:fw-b:flywheel"
    assert server.kubectl("auth", "can-i", "watch", "customresourcedefinitions", other).strip() == "yes"


@pytest.mark.parametrize("release", ["20261126", "team.c", "1flywheel", "null"])
def test_names_that_yaml_or_services_read_otherwise_are_installed(
    server: ApiServer, tmp_path: Path, release: str
) -> None:
    values = {
        "images": {"registry": "r"},
        "crds": {"enabled": False},
        "metrics": {"service": True},
        "operator": {"podAnnotations": {"prometheus.io/port": 8080, "prometheus.io/scrape": True}},
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    file = ("--values", str(tmp_path / "values.yaml"))
    helm(server, "install", release, str(CHART), "--create-namespace", *file, namespace="names")
    helm(server, "uninstall", release, namespace="names")


def test_a_typing_error_is_refused_and_changes_nothing(server: ApiServer) -> None:
    def generation() -> str:
        return server.kubectl("-n", "typo", "get", "deployment", "flywheel", "-o", "jsonpath={.metadata.generation}")

    values = ("--set", "images.registry=r,crds.enabled=false")
    helm(server, "install", "flywheel", str(CHART), "--create-namespace", *values, namespace="typo")
    before = generation()
    wrong = ("--set", "config.gpu.trainer.shmsize=1Gi")
    done = attempt(server, "upgrade", "flywheel", str(CHART), *values, *wrong, namespace="typo")
    assert done.returncode != 0
    assert "additional properties 'shmsize' not allowed" in done.stderr
    assert generation() == before
