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


def helm(server: ApiServer, *args: str) -> str:
    folder = str(server.workdir / "helm")
    environment = {**os.environ, "HELM_CACHE_HOME": folder, "HELM_CONFIG_HOME": folder, "HELM_DATA_HOME": folder}
    command = [str(binary_path("helm")), *args, "--kubeconfig", str(server.kubeconfig), "-n", "flywheel-system"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
