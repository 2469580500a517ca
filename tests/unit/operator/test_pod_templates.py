"""What the chart, an RLJob or pool, and a round say of pods: whose word counts, what it becomes, what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from flywheel_api.artifacts import Owner
from flywheel_api.causes import Cause
from flywheel_api.common import AttemptStatus
from flywheel_api.content import content_key, stage_content, training_content
from flywheel_api.pods.allowed import AllowList
from flywheel_api.pods.template import PodShape, PodTemplate, away_from, laid_over
from flywheel_api.pool import RolloutPoolSpec
from flywheel_api.presets import training_spec
from flywheel_api.results import Track
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.stages import TRAIN_CONFIG_ENV, Stage, StageConfig
from flywheel_operator.model import Act, Action, Content, Meta, Object, RLJobSeen
from flywheel_operator.plan.preflight import pods, rljob_spec, round_spec
from flywheel_operator.render import rayjob, rayservice
from flywheel_operator.render.job import stage_job
from flywheel_operator.settings import OperatorConfig
from golden import BASE, DATA, load

META = Meta("t", "team", "uid", 1)
NVME = {"name": "tmp", "hostPath": "/mnt/nvme/flywheel"}
RICH: Object = {
    "labels": {"cost-center": "rl"},
    "annotations": {"karpenter.sh/do-not-disrupt": "true"},
    "nodeSelector": {"gpu": "h100"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]},
                ]
            }
        }
    },
    "topologySpreadConstraints": [
        {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "priorityClassName": "high",
    "schedulerName": "volcano",
    "runtimeClassName": "nvidia",
    "hostNetwork": True,
    "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
    "serviceAccountName": "with-a-role",
    "imagePullSecrets": ["mine"],
    "securityContext": {"runAsUser": 0, "capabilities": {"add": ["IPC_LOCK"]}},
    "volumes": [
        NVME,
        {"name": "corpus", "mountPath": "/corpus", "persistentVolumeClaim": "models", "subPath": "a"},
        {"name": "scratch", "mountPath": "/scratch", "ephemeral": {"size": "1Ti", "storageClassName": "local"}},
        {"name": "ca", "mountPath": "/etc/corp", "configMap": "corp-ca", "readOnly": True},
        {"name": "ram", "mountPath": "/ram", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "keys", "mountPath": "/keys", "secret": "mine"},
    ],
    "secretEnv": [{"name": "WANDB_API_KEY", "secretName": "mine", "key": "wandb"}],
    "secretEnvFrom": ["mine"],
    "env": {"NCCL_IB_HCA": "mlx5"},
    "resources": {"limits": {"rdma/hca": "8"}},
}
OPEN = AllowList.model_validate(
    {
        "priorityClassNames": ["high"], "schedulerNames": ["volcano"], "runtimeClassNames": ["nvidia"],
        "serviceAccountNames": ["with-a-role"], "hostNetwork": True, "hostPaths": ["/mnt/nvme"],
        "secretNames": ["mine"], "runAsUsers": [0], "capabilities": ["IPC_LOCK"],
    }
)  # fmt: skip


def job(**more: Any) -> RLJobSpec:
    return RLJobSpec.model_validate(load("rljob")[1] | {"model": BASE} | more)


def cluster(spec: RLJobSpec, config: OperatorConfig | None = None, status: RLJobStatus | None = None) -> Object:
    seen = RLJobSeen(model=spec.model, content=Content("sha256:k", {}))
    action = Action(Act.CREATE, "RayJob", "t-1", "Train", 1)
    body = rayjob.ray_job(config or OperatorConfig(), META, spec, status or RLJobStatus(content_key="k"), seen, action)
    found: Object = body["spec"]["rayClusterSpec"]
    return found


def head_and_worker(spec: RLJobSpec, config: OperatorConfig | None = None) -> tuple[Object, Object]:
    """Both templates, without what the program is told."""
    found = cluster(spec, config)
    both = found["headGroupSpec"]["template"], found["workerGroupSpecs"][0]["template"]
    for container in (template["spec"]["containers"][0] for template in both):
        container["env"] = [e for e in container["env"] if e["name"] != TRAIN_CONFIG_ENV]
    return both


def test_every_field_of_a_template_reaches_the_pods_of_its_role_and_no_other() -> None:
    plain_head, plain_worker = head_and_worker(job())
    head, worker = head_and_worker(job(podTemplate=RICH))
    assert head == plain_head
    spec, before = worker["spec"], plain_worker["spec"]
    assert worker["metadata"]["labels"] == plain_worker["metadata"]["labels"] | {"cost-center": "rl"}
    assert worker["metadata"]["annotations"] == RICH["annotations"]
    for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName", "schedulerName", "runtimeClassName",
                 "hostNetwork", "dnsConfig", "serviceAccountName"):  # fmt: skip
        assert spec[name] == RICH[name] and name not in before, name
    assert spec["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert spec["imagePullSecrets"] == [{"name": "mine"}]
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == plain_worker["metadata"]["labels"] | {"ray.io/node-type": "worker"}
    assert spec["securityContext"] == before["securityContext"] | {
        "runAsNonRoot": False, "runAsUser": 0, "runAsGroup": 0, "fsGroup": 0
    }  # fmt: skip
    main, init = spec["containers"][0], spec["initContainers"][0]
    assert main["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
    assert init["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert main["resources"]["limits"]["rdma/hca"] == main["resources"]["requests"]["rdma/hca"] == "8"
    for container in (main, init):
        assert {"name": "NCCL_IB_HCA", "value": "mlx5"} in container["env"]
        key = {"secretKeyRef": {"name": "mine", "key": "wandb"}}
        assert {"name": "WANDB_API_KEY", "valueFrom": key} in container["env"]
        assert container["envFrom"] == [{"secretRef": {"name": "mine"}}]
        mounts = {m["name"]: m for m in container["volumeMounts"]}
        assert mounts["tmp"]["mountPath"] == "/tmp" and mounts["corpus"]["subPath"] == "a"
        assert mounts["ca"] == {"name": "ca", "mountPath": "/etc/corp", "readOnly": True}
    volumes = {v.pop("name"): v for v in spec["volumes"]}
    assert volumes["tmp"] == {"hostPath": {"path": "/mnt/nvme/flywheel", "type": "Directory"}}
    assert volumes["corpus"] == {"persistentVolumeClaim": {"claimName": "models"}}
    assert volumes["scratch"]["ephemeral"]["volumeClaimTemplate"]["spec"] == {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Ti"}}, "storageClassName": "local"
    }  # fmt: skip
    assert volumes["ca"] == {"configMap": {"name": "corp-ca"}} and volumes["keys"] == {"secret": {"secretName": "mine"}}
    assert volumes["ram"] == {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}


@pytest.mark.parametrize(("model", "said"), [("hf://org/name", "0"), (BASE, None)])
def test_an_engine_that_downloads_its_model_may_ask_the_hub(model: str, said: str | None) -> None:
    """The image for CPU is made for models of the store and asks nobody; the chart's own word goes before ours."""
    spec = RolloutPoolSpec.model_validate(load("rolloutpool")[1] | {"model": model, "gpusPerReplica": 0, "replicas": 1})
    action = Action(Act.CREATE, "RayService", "p", params={"revision": "r"})
    for own in ({}, {"HF_HUB_OFFLINE": "1"}):
        config = OperatorConfig()
        rollout = config.cpu.rollout.model_copy(update={"env": config.cpu.rollout.env | own})
        config = config.model_copy(update={"cpu": config.cpu.model_copy(update={"rollout": rollout})})
        body = rayservice.ray_service(config, META, spec, model, action)
        pod = body["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
        env = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
        assert env.get("HF_HUB_OFFLINE") == own.get("HF_HUB_OFFLINE", said) and env.get("TRANSFORMERS_OFFLINE") == said


def test_a_volume_called_cache_is_where_models_and_what_is_compiled_stay() -> None:
    head, worker = head_and_worker(job(podTemplate={"volumes": [{"name": "cache", "persistentVolumeClaim": "models"}]}))
    for container in worker["spec"]["containers"] + worker["spec"]["initContainers"]:
        assert {"name": "cache", "mountPath": "/cache"} in container["volumeMounts"]
        env = {e["name"]: e.get("value") for e in container["env"]}
        assert env["FLYWHEEL_MODEL_CACHE"] == "/cache" and env["VLLM_CACHE_ROOT"] == "/cache/vllm"
        assert env["HF_HOME"] == "/cache/huggingface"
    assert "/cache" not in str(head)
    where = {"volumes": [{"name": "cache", "emptyDir": {}}]}
    problem = pods({"jobTemplate": PodTemplate.model_validate(where)}, OPEN)
    assert problem is not None and "hold no model" in problem.message


def test_the_head_has_a_template_of_its_own() -> None:
    plain = head_and_worker(job())
    head, worker = head_and_worker(job(headTemplate={"annotations": {"a": "b"}, "resources": {"limits": {"cpu": "9"}}}))
    assert worker == plain[1]
    assert head["metadata"]["annotations"] == {"a": "b"}
    assert head["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "9"


def test_the_chart_may_put_the_head_elsewhere_than_the_workers() -> None:
    chart = {"pod": {"nodeSelector": {"gpu": "h100"}}, "headPod": {"nodeSelector": {"cpu": "big"}}}
    config = OperatorConfig.model_validate(yaml.safe_load(yaml.safe_dump({"gpu": gpu_flavour(chart)})))
    head, worker = head_and_worker(job(), config)
    assert head["spec"]["nodeSelector"] == {"cpu": "big"} and worker["spec"]["nodeSelector"] == {"gpu": "h100"}


def gpu_flavour(trainer: Object) -> Object:
    found: Object = OperatorConfig().gpu.model_dump(by_alias=True)
    found["trainer"] |= trainer
    return found


CHART = PodShape.model_validate(
    {
        "annotations": {"a": "chart", "b": "chart"}, "nodeSelector": {"gpu": "a100"}, "priorityClassName": "low",
        "tolerations": [{"key": "x", "operator": "Exists"}], "schedulerName": "chart",
        "volumes": [{"name": "v", "mountPath": "/v", "emptyDir": {}}],
        "securityContext": {"runAsUser": 7}, "hostNetwork": True,
        "affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("own", "field", "found"),
    [
        ({"annotations": {"a": "own"}}, "annotations", {"a": "own", "b": "chart"}),
        ({"nodeSelector": {"zone": "1"}}, "nodeSelector", {"gpu": "a100", "zone": "1"}),
        ({"priorityClassName": "high"}, "priorityClassName", "high"),
        ({}, "schedulerName", "chart"),
        ({"hostNetwork": False}, "hostNetwork", False),
        ({"tolerations": [{"key": "y", "operator": "Exists"}]}, "tolerations", ["x", "y"]),
        ({"volumes": [{"name": "v", "mountPath": "/w", "emptyDir": {}}]}, "volumes", ["/w"]),
        ({"volumes": [{"name": "u", "mountPath": "/u", "emptyDir": {}}]}, "volumes", ["/v", "/u"]),
        ({"securityContext": {"runAsUser": 0}}, "securityContext", {"runAsUser": 0}),
        ({"affinity": {"nodeAffinity": {}}}, "affinity", {"nodeAffinity", "podAffinity"}),
    ],
)
def test_an_object_s_word_counts_over_the_chart_s(own: Object, field: str, found: object) -> None:
    laid: Any = laid_over(CHART, PodTemplate.model_validate(own)).dump()[field]
    if isinstance(found, list):
        laid = [entry.get("key") or entry.get("mountPath") for entry in laid]
    assert (set(laid) if isinstance(found, set) else laid) == found


def test_a_round_s_word_is_its_trainings_and_its_stages() -> None:
    """chart < RLJob or pool < round: a round makes both, with what it says."""
    spec = FlywheelRoundSpec.model_validate(
        load("round-8b")[1] | {"jobTemplate": {"annotations": {"j": "1"}, "resources": {"limits": {"memory": "3Gi"}}}}
    )
    training = spec.training.model_copy(
        update={"pod_template": PodTemplate(annotations={"w": "1"}), "head_template": PodTemplate(labels={"h": "1"})}
    )
    made = training_spec(spec.model_copy(update={"training": training}), Track.REASONING, BASE, DATA, None)
    assert made.pod_template == training.pod_template and made.head_template == training.head_template
    owner = Owner(kind="FlywheelRound", namespace="n", name="r", uid="u")
    config = StageConfig(stage=Stage.PREPARE, owner=owner, attempt=1, content_key="k", spec=spec)
    template = stage_job(OperatorConfig(), META, config, Action(Act.CREATE, "Job", "j", "Prepare", 1))["spec"][
        "template"
    ]
    assert template["metadata"]["annotations"] == {"j": "1"}
    assert template["spec"]["containers"][0]["resources"]["limits"]["memory"] == "3Gi"


def test_pods_change_no_content_and_specs_without_them_no_hash() -> None:
    shaped = job(podTemplate=RICH, headTemplate={"labels": {"a": "b"}})
    assert content_key(training_content(shaped, BASE)) == content_key(training_content(job(), BASE))
    spec = FlywheelRoundSpec.model_validate(load("round-8b")[1])
    other = spec.model_copy(update={"job_template": PodTemplate(labels={"a": "b"})})
    for stage in (Stage.PREPARE, Stage.MINE_REASONING, Stage.PACKAGE):
        assert stage_content(stage, spec, {}) == stage_content(stage, other, {})
    pool = RolloutPoolSpec.model_validate(load("rolloutpool")[1])
    revision = rayservice.revision(OperatorConfig(), pool, BASE)
    assert revision == "h2-6cbx72-bhs6"
    shaped_pool = pool.model_copy(update={"head_template": PodTemplate(labels={"a": "b"})})
    assert rayservice.revision(OperatorConfig(), shaped_pool, BASE) != revision, "new pods are a new revision"


def test_nodes_with_bad_hardware_are_kept_out_of_every_alternative() -> None:
    affinity = PodTemplate.model_validate(RICH).affinity
    kept = away_from(affinity, ("n1", "n2"))
    assert kept is not None
    terms = kept.body()["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [len(term["matchFields"]) for term in terms] == [2, 2]
    assert all("matchExpressions" in term for term in terms)
    lost = AttemptStatus(attempt=1, cause=Cause.INFRA, node="n1")
    plain = cluster(job(), status=RLJobStatus(content_key="k", attempts=[lost]))
    assert "n1" in str(plain["workerGroupSpecs"][0]["template"]["spec"]["affinity"])


@pytest.mark.parametrize("field", sorted(RICH))
def test_what_the_allow_list_opens_is_taken_and_closed_it_is_refused_by_name(field: str) -> None:
    template = PodTemplate.model_validate({field: RICH[field]})
    assert OPEN.refusal(template) is None
    closed = AllowList.model_validate(
        {name: False for name, info in AllowList.model_fields.items() if info.annotation is bool}
    )
    problem = pods({"training.podTemplate": template}, closed)
    assert problem is not None and f"training.podTemplate.{field}" in problem.message
    assert "config.podTemplate." in problem.message and "cluster's owner" in problem.message


BY_DEFAULT = {
    "nodes' disks": {"volumes": [NVME]},
    "a Secret as variable": {"secretEnv": RICH["secretEnv"]},
    "all of a Secret": {"secretEnvFrom": ["mine"]},
    "a Secret as files": {"volumes": [{"name": "s", "mountPath": "/s", "secret": "mine"}]},
    "another's rights": {"serviceAccountName": "admin"},
    "root": {"securityContext": {"runAsUser": 0}},
    "the node's network": {"hostNetwork": True},
    "pulling as others": {"imagePullSecrets": ["mine"]},
}


@pytest.mark.parametrize("name", BY_DEFAULT)
def test_what_reaches_beyond_an_object_s_own_pods_is_closed_until_the_chart_opens_it(name: str) -> None:
    for where in ("podTemplate", "headTemplate"):
        problem = rljob_spec(job(**{where: BY_DEFAULT[name]}), AllowList())
        assert problem is not None and problem.message.startswith(f"{where}."), name
    spec = load("round-8b")[1]
    refused = round_spec(FlywheelRoundSpec.model_validate(spec | {"jobTemplate": BY_DEFAULT[name]}), AllowList())
    assert refused is not None and refused.message.startswith("jobTemplate.")


@pytest.mark.parametrize("path", ["/mnt/nvme-other", "/mnt", "/", "/mnt/nvme/../../etc"])
def test_a_host_path_is_allowed_by_folder_and_not_by_its_first_letters(path: str) -> None:
    try:
        template = PodTemplate.model_validate({"volumes": [{"name": "d", "mountPath": "/d", "hostPath": path}]})
    except ValidationError as error:
        assert ".." in str(error)
        return
    assert "hostPaths" in str(OPEN.refusal(template))


WRONG = {
    "two sources": ({"volumes": [{"name": "v", "mountPath": "/v", "emptyDir": {}, "secret": "s"}]}, "exactly one of"),
    "no source": ({"volumes": [{"name": "v", "mountPath": "/v"}]}, "exactly one of"),
    "no place": ({"volumes": [{"name": "v", "emptyDir": {}}]}, "needs a mountPath"),
    "a place for tmp": ({"volumes": [{"name": "tmp", "mountPath": "/t", "emptyDir": {}}]}, "needs a mountPath"),
    "our place": ({"volumes": [{"name": "v", "mountPath": "/tmp/", "emptyDir": {}}]}, "is taken"),
    "the export's place": ({"volumes": [{"name": "v", "mountPath": "/export", "emptyDir": {}}]}, "is taken"),
    "the root": ({"volumes": [{"name": "v", "mountPath": "/", "emptyDir": {}}]}, "is taken"),
    "kernel's place": ({"volumes": [{"name": "v", "mountPath": "/proc/x", "emptyDir": {}}]}, "is taken"),
    "our shm": ({"volumes": [{"name": "shm", "mountPath": "/s", "emptyDir": {}}]}, "another name"),
    "tmp of a ConfigMap": ({"volumes": [{"name": "tmp", "configMap": "c"}]}, "is written to"),
    "a relative path": ({"volumes": [{"name": "v", "mountPath": "v", "emptyDir": {}}]}, "no absolute path"),
    "a way out": ({"volumes": [{"name": "v", "mountPath": "/v", "emptyDir": {}, "subPath": "../x"}]}, "relative path"),
    "a size in words": ({"volumes": [{"name": "v", "mountPath": "/v", "ephemeral": {"size": "1 TB"}}]}, "quantity"),
    "our variable": ({"env": {"FLYWHEEL_S3_BUCKET": "x"}}, "Flywheel's own"),
    "our variable from a Secret": (
        {"secretEnv": [{"name": "HOME", "secretName": "s", "key": "k"}]}, "Flywheel's own"),
    "a secret in the open": ({"env": {"WANDB_API_KEY": "abc"}}, "secretEnv"),
    "a token in the open": ({"env": {"HF_TOKEN": "hf_x"}}, "secretEnv"),
    "no variable": ({"env": {"1X": "y"}}, "no name of a variable"),
    "misspelt affinity": ({"affinity": {"nodeAfinity": {}}}, "nodeAfinity"),
    "a term without nodes": (
        {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}},
        "at least 1"),
    "pods away from nothing": (
        {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}}, "topologyKey"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_work_is_refused_with_what_to_write(name: str) -> None:
    template, words = WRONG[name]
    for where in ("podTemplate", "headTemplate"):
        with pytest.raises(ValidationError, match=re.escape(words)):
            job(**{where: template})


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"labels": {"flywheel.dev/owner-uid": "x"}}, "own"),
        ({"labels": {"ray.io/cluster": "x"}}, "own"),
        ({"resources": {"limits": {"nvidia.com/gpu": "1"}}}, "gpusPerNode"),
        ({"resources": {"requests": {"amd.com/gpu": "1"}}}, "gpusPerNode"),
    ],
)
def test_what_would_do_nothing_is_refused(template: Object, words: str) -> None:
    problem = pods({"podTemplate": PodTemplate.model_validate(template)}, OPEN)
    assert problem is not None and words in problem.message and "cluster's owner" not in problem.message
