"""The chart before a real Kubernetes API server: Pod Security takes its pods, RBAC grants what it should."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.dry_run import DryRun, Refused
from cluster.apiserver import ApiServer, start_apiserver
from cluster.pins import binary_path
from golden import pods, rendered

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

CHART = Path(__file__).parents[2] / "charts" / "flywheel"
SYSTEM, ROUNDS = "flywheel-system", "flywheel-demo"
OPERATOR = f"system:serviceaccount:{SYSTEM}:flywheel"
Object = dict[str, Any]


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    helm = binary_path("helm")
    if not helm.exists():
        pytest.skip("helm is not built; `python -m cluster build --only helm` builds it")
    args = ["template", "flywheel", str(CHART), "-n", SYSTEM, "-f", str(CHART / "values-local.yaml")]
    done = subprocess.run([str(helm), *args], capture_output=True, text=True, check=True)
    return [body for body in yaml.load_all(done.stdout, yaml.CSafeLoader) if body]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, objects: list[Object]) -> Iterator[ApiServer]:
    with start_apiserver(tmp_path_factory.mktemp("apiserver")) as api:
        api.kubectl("create", "namespace", SYSTEM)
        api.kubectl("label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted")
        namespaces = [o for o in objects if o["kind"] == "Namespace"]
        for group in (namespaces, [o for o in objects if o["kind"] != "Namespace"]):
            text = "\n---\n".join(json.dumps(body) for body in group)
            api.kubectl("apply", "--server-side", "-f", "-", stdin=text)
        yield api


@pytest.fixture(scope="module")
def dry(server: ApiServer) -> Iterator[DryRun]:
    found = DryRun(server.kubeconfig)
    yield found
    found.close()


def test_the_whole_chart_applies_twice_without_a_change(server: ApiServer, objects: list[Object]) -> None:
    def versions() -> dict[str, str]:
        found = {}
        for body in objects:
            meta = body["metadata"]
            args = ["get", body["kind"], meta["name"], "-o", "json"]
            args += ["-n", meta["namespace"]] if "namespace" in meta else []
            stored = json.loads(server.kubectl(*args))
            if body["kind"] != "CustomResourceDefinition":  # its status moves by itself
                found[f"{body['kind']}/{meta['name']}"] = stored["metadata"]["resourceVersion"]
        return found

    before = versions()
    server.kubectl("apply", "--server-side", "-f", "-", stdin="\n---\n".join(json.dumps(o) for o in objects))
    assert versions() == before


def test_pod_security_restricted_takes_the_operators_pod(dry: DryRun, objects: list[Object]) -> None:
    template = next(o for o in objects if o["kind"] == "Deployment")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": SYSTEM}, "spec": template["spec"]}
    dry.create(pod)
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(Refused, match="violates PodSecurity"):
        dry.create(pod)


def test_the_charts_namespace_enforces_restricted(dry: DryRun) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": ROUNDS}}
    pod["spec"] = {"containers": [{"name": "c", "image": "c"}]}
    with pytest.raises(Refused, match="violates PodSecurity"):
        dry.create(pod)


def can(dry: DryRun, right: str, namespace: str, who: str = OPERATOR) -> bool:
    """Whether `who` has a right such as `get secrets/name` or `patch flywheelrounds.flywheel.dev:status`."""
    verb, target = right.split()
    target, _, subresource = target.partition(":")
    target, _, name = target.partition("/")
    resource, _, group = target.partition(".")
    attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
    attributes |= {"subresource": subresource, "name": name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {"user": who, "resourceAttributes": attributes},
    }
    return bool(dry.create(review)["status"]["allowed"])


ALLOWED = """
watch flywheelrounds.flywheel.dev, patch flywheelrounds.flywheel.dev:status
update flywheelrounds.flywheel.dev:finalizers
create rljobs.flywheel.dev, delete rljobs.flywheel.dev, patch rljobs.flywheel.dev:status
create rolloutpools.flywheel.dev, delete rolloutpools.flywheel.dev, patch rolloutpools.flywheel.dev:status
create rayjobs.ray.io, delete rayjobs.ray.io, create rayservices.ray.io, delete rayservices.ray.io
list rayclusters.ray.io
create jobs.batch, delete jobs.batch, watch pods, create services, patch services, delete services
create events, list events, get secrets/flywheel-s3
""".replace("\n", ",")
DENIED = """
list secrets, watch secrets, get secrets/teacher, create secrets, get configmaps
create rolebindings.rbac.authorization.k8s.io
patch flywheelrounds.flywheel.dev, delete flywheelrounds.flywheel.dev, patch rljobs.flywheel.dev, patch rayjobs.ray.io
delete rayclusters.ray.io, create pods, create pods:exec, delete pods, get pods:log, patch jobs.batch
create deployments.apps
""".replace("\n", ",")


def rights(text: str) -> list[str]:
    return [right.strip() for right in text.split(",") if right.strip()]


@pytest.mark.parametrize("right", rights(ALLOWED))
def test_the_operator_may(dry: DryRun, right: str) -> None:
    assert can(dry, right, ROUNDS)
    assert not can(dry, right, "default")


@pytest.mark.parametrize("right", rights(DENIED))
def test_the_operator_may_not(dry: DryRun, right: str) -> None:
    assert not can(dry, right, ROUNDS)


def test_nodes_may_be_listed_and_no_more(dry: DryRun, objects: list[Object]) -> None:
    assert can(dry, "list nodes", "")
    assert not any(can(dry, f"{verb} nodes", "") for verb in ("get", "watch", "patch", "delete"))
    rules = {json.dumps(o["rules"]) for o in objects if o["kind"] == "Role"}
    assert rules and not any("nodes" in text for text in rules), "nodes are in no namespace"


def test_the_pods_account_may_nothing(dry: DryRun) -> None:
    for right in rights(ALLOWED):
        assert not can(dry, right, ROUNDS, f"system:serviceaccount:{ROUNDS}:flywheel-jobs")


PODS = [(f"{name}-{n}", pod) for name, objects in rendered().items() for n, pod in enumerate(pods(objects))]


@pytest.mark.parametrize(("name", "pod"), PODS, ids=[name for name, _ in PODS])
def test_pod_security_restricted_takes_every_pod_that_the_operator_makes(dry: DryRun, name: str, pod: Object) -> None:
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": ROUNDS}, "spec": pod["spec"]}
    dry.create(body)
