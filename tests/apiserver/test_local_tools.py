"""The local tools' kubectl and kube client against a real API server, and what they install of KubeRay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from cluster import addons
from cluster.apiserver import ApiServer, start_apiserver
from cluster.errors import ClusterError
from cluster.kube import KubeApi

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]

TWO = """
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: x, labels: {side: left}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b, namespace: x}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with start_apiserver(tmp_path_factory.mktemp("apiserver")) as api:
        yield api


def test_objects_come_and_go(server: ApiServer) -> None:
    kube = server.kube
    assert kube.get("namespace", "x") is None
    kube.apply([addons.restricted_namespace("x")])
    kube.apply_text(TWO)
    assert [o["metadata"]["name"] for o in kube.list("configmap", "x", "side=left")] == ["a"]
    kube.delete("configmap", "a", "x")
    kube.delete("configmap", "a", "x")  # a missing one is no error
    assert kube.get("configmap", "a", "x") is None and kube.get("configmap", "b", "x") is not None


def test_failures_carry_kubectls_own_words(server: ApiServer) -> None:
    with pytest.raises(ClusterError, match=r'kubectl get nothing failed: .*resource type "nothing"'):
        server.kube.run("get", "nothing")
    with pytest.raises(ClusterError, match=r"unknown field \"data2\""):  # what a user wrote is validated
        server.kube.apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data2": {}}])
    with pytest.raises(ClusterError, match=r"default/kubernetes was not Ready: .*timed out"):
        server.kube.wait("service", "kubernetes", "default", "Ready", 1)
    assert server.kube.try_run("get", "--raw", "/readyz", timeout_s=0.001)[0] == 124


def test_a_get_without_kubectl_agrees(server: ApiServer) -> None:
    api = KubeApi(server.kubeconfig)
    found = api.get("/api/v1/namespaces/default")
    assert api.ready() and found is not None
    assert found["metadata"]["uid"] == (server.kube.get("namespace", "default") or {})["metadata"]["uid"]
    assert api.get("/api/v1/namespaces/none") is None


def test_kuberay_comes_with_the_versions_that_it_uses(server: ApiServer) -> None:
    objects = list(yaml.load_all(addons.kuberay_manifests(server.kube).read_text(), yaml.CSafeLoader))
    crds = {o["metadata"]["name"]: o["spec"]["versions"] for o in objects if o["kind"] == "CustomResourceDefinition"}
    assert set(crds) == {"rayclusters.ray.io", "rayjobs.ray.io", "rayservices.ray.io"}
    assert {v["name"] for versions in crds.values() for v in versions} == {"v1"}
    assert [o["kind"] for o in objects if o["kind"] == "Deployment"] == ["Deployment"]
