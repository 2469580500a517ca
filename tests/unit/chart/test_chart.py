"""The chart renders what it promises: least privilege, restricted pods, a configuration that the operator accepts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.errors import ClusterError
from cluster.pins import binary_path
from flywheel_operator.config_file import load_config
from flywheel_operator.config_reference import (
    DEFAULTS,
    PAGE,
    VALUES_SCHEMA,
    config_page,
    config_schema,
    defaults,
    values_schema,
)
from flywheel_operator.settings import OperatorConfig

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "flywheel"
LOCAL = ("-f", str(CHART / "values-local.yaml"))
REGISTRY = ("--set", "images.registry=registry.example.com/flywheel")
Object = dict[str, Any]
Render = Callable[..., list[Object]]


@pytest.fixture(scope="session")
def helm() -> Path:
    try:
        path = binary_path("helm")
    except ClusterError as error:
        pytest.skip(f"helm is not built ({error}); `python -m cluster build --only helm` builds it")
    if not path.exists():
        pytest.skip("helm is not built; `python -m cluster build --only helm` builds it")
    return path


def run(helm: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(helm), *args], capture_output=True, text=True, check=False)


@pytest.fixture
def render(helm: Path) -> Render:
    def template(*args: str) -> list[Object]:
        done = run(helm, "template", "fw", str(CHART), "--namespace", "flywheel-system", *args)
        assert done.returncode == 0, done.stderr
        return [body for body in yaml.load_all(done.stdout, yaml.CSafeLoader) if body]

    return template


def only(objects: list[Object], kind: str, name: str | None = None) -> Object:
    found = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    assert len(found) == 1, [(o["kind"], o["metadata"]["name"]) for o in objects]
    return found[0]


def rules_of(objects: list[Object]) -> list[Object]:
    return [rule for o in objects if o["kind"] in ("Role", "ClusterRole") for rule in o["rules"]]


def test_lint_passes(helm: Path) -> None:
    for args in (LOCAL, REGISTRY):
        done = run(helm, "lint", "--strict", str(CHART), *args)
        assert done.returncode == 0, done.stdout + done.stderr


def test_default_values_stop_with_the_fix(helm: Path) -> None:
    done = run(helm, "template", "fw", str(CHART))
    assert done.returncode != 0
    assert "set images.registry" in done.stderr


@pytest.mark.parametrize("path", ["values.yaml", "values-local.yaml"])
def test_values_follow_their_schema(path: str) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.validate(yaml.safe_load((CHART / path).read_text()), schema)


def test_every_value_is_in_the_schema_and_unknown_ones_are_refused(helm: Path) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for key, value in values.items():
        known = schema["properties"][key]
        if key == "config":
            continue
        if isinstance(value, dict) and known.get("additionalProperties") is False:
            assert set(value) == set(known["properties"]), key
    done = run(helm, "template", "fw", str(CHART), *LOCAL, "--set", "operator.replicas=2")
    assert done.returncode != 0
    assert "replicas" in done.stderr


@pytest.mark.parametrize("args", [LOCAL, REGISTRY, (*REGISTRY, "--set-json", 'config={"job":{"shards":8}}')])
def test_the_operator_accepts_its_configuration(render: Render, tmp_path: Path, args: tuple[str, ...]) -> None:
    config = only(render(*args), "ConfigMap")["data"]["config.yaml"]
    file = tmp_path / "config.yaml"
    file.write_text(config)
    loaded = load_config(str(file))
    assert isinstance(loaded, OperatorConfig)
    if args == LOCAL:
        assert loaded.namespaces == ["flywheel-demo"]
        assert loaded.service_account_name == "flywheel-jobs"
        assert loaded.cpu.trainer.image == loaded.cpu.rollout.image == "localhost/flywheel/ray-cpu:dev"
        assert loaded.cpu.trainer.head == OperatorConfig().cpu.trainer.head
    else:
        assert loaded.namespaces == [] and loaded.service_account_name is None
        assert loaded.gpu.trainer.image == "registry.example.com/flywheel/trainer-gpu:0.1.0"
        assert loaded.job.shards == (1 if args == REGISTRY else 8)


def test_what_is_made_of_the_configurations_model_and_of_values_is_as_they_say() -> None:
    old = "it is old: run `make generate`"
    assert (ROOT / PAGE).read_text() == config_page(), old
    assert (ROOT / VALUES_SCHEMA).read_text() == values_schema((ROOT / VALUES_SCHEMA).read_text()), old
    assert (ROOT / DEFAULTS).read_text() == defaults((CHART / "values.yaml").read_text()), old


def test_the_schema_of_config_knows_every_field_and_takes_every_default() -> None:
    whole = OperatorConfig().model_dump(mode="json", by_alias=True)
    schema, shared = config_schema()
    jsonschema.validate(whole, schema | {"definitions": shared})

    def same(values: Object, schema: Object) -> None:
        assert set(values) == set(schema["properties"])
        for key, value in values.items():
            if "properties" in schema["properties"][key]:
                same(value, schema["properties"][key])

    same(whole, schema)


def test_a_changed_configuration_restarts_the_operator(render: Render) -> None:
    def checksum(*args: str) -> str:
        template = only(render(*LOCAL, *args), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum() == checksum() != checksum("--set-json", 'config={"workers":2}')


def test_rendering_twice_gives_the_same(render: Render) -> None:
    assert render(*LOCAL) == render(*LOCAL)


@pytest.mark.parametrize("args", [LOCAL, REGISTRY])
def test_no_wildcards_and_secrets_only_by_name(render: Render, args: tuple[str, ...]) -> None:
    for rule in rules_of(render(*args)):
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
        if "secrets" in rule["resources"]:
            assert rule["verbs"] == ["get"] and rule["resourceNames"] == ["flywheel-s3"]


def test_with_namespaces_the_operator_has_no_rights_elsewhere(render: Render) -> None:
    for more, seen in (((), {"nodes"}), (("--set", "rbac.nodes=false"), set())):
        objects = render(*LOCAL, *more)
        own = only(objects, "ClusterRole", "flywheel-system:fw-flywheel")
        resources = {r: set(rule["verbs"]) for rule in own["rules"] for r in rule["resources"]}
        assert resources.keys() == {"customresourcedefinitions", "namespaces"} | seen
        assert resources.pop("nodes", {"list"}) == {"list"} and set.union(*resources.values()) == {"list", "watch"}
        assert only(objects, "Role")["metadata"]["namespace"] == "flywheel-demo"


def test_the_pods_account_is_bound_to_nothing(render: Render) -> None:
    objects = render(*LOCAL)
    assert only(objects, "ServiceAccount", "flywheel-jobs")["automountServiceAccountToken"] is False
    for body in objects:
        for subject in body.get("subjects", []):
            assert subject["name"] != "flywheel-jobs"


def test_crds_are_templates_and_kept(render: Render) -> None:
    crds = [o for o in render(*LOCAL) if o["kind"] == "CustomResourceDefinition"]
    committed = {path.name: yaml.load(path.read_text(), yaml.CSafeLoader) for path in (ROOT / "crds").glob("*.yaml")}
    assert len(crds) == len(committed) == 3
    for body in crds:
        assert body["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert body in committed.values()
    assert not [o for o in render(*LOCAL, "--set", "crds.enabled=false") if o["kind"] == "CustomResourceDefinition"]


def test_every_pod_of_ours_is_denied_by_default(render: Render) -> None:
    objects = [o for o in render(*LOCAL) if o["kind"] == "NetworkPolicy"]
    deny = only(objects, "NetworkPolicy", "fw-flywheel-default-deny")["spec"]
    assert deny == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/managed-by": "flywheel"}},
        "policyTypes": ["Ingress", "Egress"],
    }
    ray = only(objects, "NetworkPolicy", "fw-flywheel-ray")["spec"]
    dashboards = [rule for rule in ray["ingress"] if {"protocol": "TCP", "port": 8265} in rule.get("ports", [])]
    assert len(dashboards) == 1 and list(dashboards[0]["from"][0]) == ["namespaceSelector", "podSelector"]


def test_the_store_secret_is_made_only_when_asked_for_and_complete(render: Render, helm: Path) -> None:
    assert not [o for o in render(*LOCAL) if o["kind"] == "Secret"]
    done = run(helm, "template", "fw", str(CHART), *LOCAL, "--set", "store.create=true")
    assert "store.create needs store.endpoint" in done.stderr
    keys = "store.create=true,store.endpoint=http://s3:9000,store.bucket=b,store.accessKey=a,store.secretKey=s"
    made = only(render(*LOCAL, "--set", keys), "Secret")
    assert made["stringData"] == {"endpoint": "http://s3:9000", "bucket": "b", "accessKey": "a", "secretKey": "s"}
    by_identity = only(render(*LOCAL, "--set", f"{keys},store.accessKey=,store.secretKey="), "Secret")
    assert by_identity["stringData"] == {"endpoint": "http://s3:9000", "bucket": "b"}
    done = run(helm, "template", "fw", str(CHART), *LOCAL, "--set", f"{keys},store.secretKey=")
    assert "store.create needs store.secretKey" in done.stderr, "one key alone is a mistake"


def test_notes_say_what_to_do_next(helm: Path) -> None:
    done = run(helm, "install", "fw", str(CHART), "--dry-run=client", *LOCAL, "-n", "flywheel-system")
    assert "kubectl -n flywheel-demo apply -f round.yaml" in done.stdout, done.stderr
