"""Sets of values as people write them, for `test_values`: what is installed, and what is refused in which words."""

from __future__ import annotations

from dataclasses import dataclass

DIGEST = "sha256:" + "a" * 64
BASE = """
images: {registry: registry.example.com/flywheel}
namespaces: [team-a]
crds: {enabled: false}
"""


@dataclass(frozen=True)
class Case:
    """A release: `values` is YAML laid over BASE, as in a second --values."""

    values: str = "{}"
    release: str = "flywheel"
    namespace: str = "flywheel-system"


NAMES = ("123", "007", "0x1f", "1.5", "20261126", "true", "on", "no", "null", "y", "1e3", "2026-11-26", "team.a",
         "team.a-flywheel", "1flywheel", "a", "x" * 53, "flywheel-" + "x" * 44, "my-flywheel")  # fmt: skip
SECTIONS = ("config", "store", "operator", "serviceAccount", "rbac", "crds", "networkPolicy", "metrics", "namespaces",
            "commonLabels", "commonAnnotations", "nameOverride", "fullnameOverride", "createNamespaces")  # fmt: skip
PARTS = ("images.pullSecrets", "images.digests", "images.pullPolicy", "images.tag", "operator.resources",
         "operator.nodeSelector", "operator.podLabels", "operator.env", "operator.tolerations", "operator.affinity",
         "operator.resources.limits", "rbac.secretNames", "serviceAccount.annotations", "networkPolicy.kuberay",
         "networkPolicy.store", "networkPolicy.store.to", "networkPolicy.endpoints.ports", "networkPolicy.dns",
         "networkPolicy.poolClients", "store.secretName", "metrics.labels", "config.gpu", "config.job",
         "config.timing", "config.gpu.trainer", "config.cpu.trainer.env", "config.job.pod.labels")  # fmt: skip


def nulls(path: str) -> str:
    """YAML of a section whose lines are commented out."""
    keys = path.split(".")
    return "".join("  " * depth + f"{key}:\n" for depth, key in enumerate(keys))


TAKEN: dict[str, Case] = {
    "nothing but what is needed": Case(),
    "no namespaces": Case("namespaces: []"),
    "a few namespaces of a whole cluster": Case("namespaces: []\nconfig: {namespaces: [team-b]}"),
    "namespaces in another order": Case("namespaces: [team-a, team-1]\nconfig: {namespaces: [team-1, team-a]}"),
    **{f"release {name}": Case("metrics: {service: true}", release=name) for name in NAMES},
    **{f"null {path}": Case(nulls(path)) for path in (*SECTIONS, *PARTS)},
    "release namespace 123": Case(namespace="123"),
    "namespace as a quoted number": Case('namespaces: ["123", "007", "on"]\ncreateNamespaces: true'),
    "account 007": Case('serviceAccount: {name: "007"}'),
    "account that exists": Case("serviceAccount: {create: false, name: mine}"),
    "account with a cloud's role": Case(
        "serviceAccount: {jobsAnnotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::1:role/x'}}"
    ),
    "umbrella's enabled": Case("enabled: true"),
    "global of an umbrella": Case("global: {imageRegistry: x}"),
    "nameOverride": Case("nameOverride: wheel"),
    "fullnameOverride": Case("fullnameOverride: the.wheel"),
    "fullnameOverride of a number": Case('fullnameOverride: "42"\nmetrics: {service: true}'),
    "common labels": Case("commonLabels: {cost-center: 4711, team: ml, spot: true}"),
    "common annotations": Case("commonAnnotations: {example.com/owner: ml, build: 20261126}"),
    "common labels that select": Case("commonLabels: {app.kubernetes.io/name: other, app.kubernetes.io/instance: x}"),
    "pod annotations as numbers": Case(
        "operator: {podAnnotations: {prometheus.io/port: 8080, prometheus.io/scrape: true, ratio: 1.5}}"
    ),
    "pod labels as numbers": Case("operator: {podLabels: {cost-center: 4711, spot: false, gone: null}}"),
    "pod labels that select": Case(
        "operator: {podLabels: {app.kubernetes.io/name: x, app.kubernetes.io/instance: 1, mine: y}}"
    ),
    "pod annotation of the checksum": Case("operator: {podAnnotations: {checksum/config: mine}}"),
    "node selector as a boolean": Case("operator: {nodeSelector: {gpu: false, node.example.com/pool: 12}}"),
    "account annotation as a boolean": Case("serviceAccount: {annotations: {a: true, b: 5, c: 1e3}}"),
    "environment as a number": Case("operator: {env: [{name: PORT, value: 8080}, {name: LONG, value: 137438953472}]}"),
    "environment as a boolean, nothing, a field": Case(
        "operator: {env: [{name: A, value: true}, {name: B, value: }, "
        "{name: C, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}"
    ),
    "operator's resources as numbers": Case("operator: {resources: {requests: {cpu: 1, memory: 536870912}}}"),
    "operator's resources with a fraction": Case("operator: {resources: {limits: {cpu: 0.5}}}"),
    "operator's memory limit gone": Case("operator: {resources: {limits: {memory: null}}}"),
    "priority class 007": Case('operator: {priorityClassName: "007"}'),
    "tolerations and affinity": Case(
        "operator: {tolerations: [{operator: Exists}], affinity: {nodeAffinity: "
        "{requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: "
        "[{key: a, operator: Exists}]}]}}}}"
    ),
    "pull secrets as names": Case('images: {pullSecrets: [regcred, "007"]}'),
    "pull secrets as objects": Case("images: {pullSecrets: [{name: regcred}]}"),
    "tag": Case('images: {tag: "1.10"}'),
    "tag that looks like a number": Case('images: {tag: "20261126"}'),
    "registry with a port": Case("images: {registry: 'registry.example.com:5000/flywheel/'}"),
    "registry at an IPv6 address": Case("images: {registry: '[fd00::5]:5000/flywheel'}"),
    "images in full": Case(f"images: {{registry: '', operator: r/o:1, jobs: 'r/j@{DIGEST}', rayCpu: r/r:1, "
                           f"trainerGpu: 'r:5000/t:1@{DIGEST}', rolloutGpu: localhost/g}}"),
    "digests": Case(f"images: {{digests: {{operator: '{DIGEST}', trainerGpu: '{DIGEST}', jobs: }}}}"),
    "pull policy": Case("images: {pullPolicy: Always}"),
    "numbers in config": Case(
        "config: {gpu: {trainer: {worker: {requests: {cpu: 32, memory: 549755813888}, limits: "
        "{nvidia.com/gpu: 8, memory: 1.5Ti}}, shmSize: 137438953472, env: {NCCL_IB_DISABLE: 1, DEBUG: true}, "
        "headRayStartParams: {num-cpus: 16}, pod: {nodeSelector: {nvidia.com/gpu.present: true}, "
        "labels: {cost-center: 4711}, annotations: {sidecar.istio.io/inject: false}}}}}"
    ),
    "fractions in config": Case("config: {job: {resources: {requests: {cpu: 0.5}, limits: {cpu: 1.5}}}}"),
    "a verl key in config": Case("config: {gpu: {overrides: {actor_rollout_ref.rollout.gpu_memory_utilization: 0.6}}}"),
    "a default variable unset": Case("config: {cpu: {trainer: {env: {RAY_DEDUP_LOGS: }}}}"),
    "tolerations in config": Case(
        "config: {gpu: {trainer: {pod: {tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]}}}}"
    ),
    "Ray's version": Case('config: {rayVersion: "2.60.1"}'),
    "timings": Case("config: {timing: {poll: 5, resync: 600.5}, workers: 16}"),
    "KubeRay by one's own labels": Case(
        "networkPolicy: {kuberay: [{podSelector: {matchLabels: {app: kuberay-operator}}, namespaceSelector: {}}]}"
    ),
    "KubeRay in two places": Case(
        "networkPolicy: {kuberay: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ray-system}}}, "
        "{ipBlock: {cidr: 10.0.0.0/8}}]}"
    ),
    "KubeRay shut out": Case("networkPolicy: {kuberay: []}"),
    "policies with labels": Case("networkPolicy: {labels: {tier: 1}, annotations: {reviewed: true}}"),
    "policies off": Case("networkPolicy: {enabled: false}"),
    "IPv6 peers": Case(
        "networkPolicy: {store: {to: [{ipBlock: {cidr: 'fd00::/8'}}]}, dns: [{ipBlock: {cidr: 'fd00::a/128'}}]}"
    ),
    "DNS anywhere": Case("networkPolicy: {dns: []}"),
    "peers of everything": Case(
        "networkPolicy: {poolClients: [{podSelector: {matchLabels: {app: chat}}}], metricsClients: "
        "[{namespaceSelector: {}}], apiServer: {ports: [6443], to: [{ipBlock: {cidr: 10.96.0.1/32}}]}}"
    ),
    "metrics": Case("metrics: {service: true, serviceMonitor: true, labels: {release: kube-prometheus-stack}, "
                    "interval: 30s, scrapeTimeout: 10s, annotations: {a: 1}}"),
    "a ServiceMonitor alone": Case("metrics: {serviceMonitor: true}"),
    "a store's Secret": Case(
        'store: {create: true, endpoint: "http://[fd00::5]:9000", bucket: b, accessKey: "007", secretKey: "on: [}", '
        'region: "1", caBundle: "-----BEGIN CERTIFICATE-----\\nb"}'
    ),
    "another store's name": Case("store: {secretName: minio-creds}"),
    "another store's name, listed": Case("store: {secretName: s}\nrbac: {secretNames: [s, teacher]}"),
    "no Secret listed": Case("rbac: {secretNames: []}"),
    "no aggregated roles": Case("rbac: {aggregateRoles: false}"),
    "CRDs with labels": Case("crds: {enabled: true}\ncommonLabels: {cost-center: 4711}"),
    "CRDs that go": Case("crds: {enabled: true, keep: false}"),
    "its own namespace": Case("namespaces: [flywheel-system]\ncreateNamespaces: true"),
    "twenty namespaces": Case(f"namespaces: [{', '.join(f'team-{n}' for n in range(20))}]\ncreateNamespaces: true"),
    "another port and user": Case(
        "config: {httpPort: 9090, runAsUser: 1000650000}\nmetrics: {service: true}\n"
        "networkPolicy: {metricsClients: [{namespaceSelector: {}}]}"
    ),
    "the same namespaces said twice": Case("config: {namespaces: [team-a]}"),
    "an account of pods in other namespaces only": Case("serviceAccount: {name: flywheel-jobs}"),
    "a toleration for a while": Case(
        "operator: {tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, "
        "tolerationSeconds: 30}, {key: a, value: b}, {key: '', operator: Exists}]}"
    ),
    "scrapes": Case("metrics: {serviceMonitor: true, interval: 1m30s, scrapeTimeout: 90s}"),
    "store's values with a line's end": Case(
        'store: {create: true, endpoint: "HTTPS://s3.example.com/b.c/\\n", bucket: "b.c\\n", prefix: "/a b/..c/", '
        'region: "auto\\n", accessKey: "1\\n", secretKey: "2 3"}'
    ),
    "grace": Case("operator: {terminationGracePeriodSeconds: 0}"),
}  # fmt: skip

REFUSED: dict[str, tuple[str, str]] = {
    "unknown value": ("operator: {replicas: 2}", "additional properties 'replicas' not allowed"),
    "unknown section": ("operatr: {}", "additional properties 'operatr' not allowed"),
    "typo in config": ("config: {gpu: {trainer: {shmsize: 1Gi}}}", "additional properties 'shmsize' not allowed"),
    "null typo in config": ("config: {gpuu: }", "additional properties 'gpuu' not allowed"),
    "config's number as a word": ("config: {workers: many}", "/config/workers"),
    "config's number beyond": ("config: {workers: 0}", "/config/workers"),
    "pull secrets as objects in config": ("config: {imagePullSecrets: [{name: x}]}", "/config/imagePullSecrets/0"),
    "Ray's version as a number": ("config: {rayVersion: 2.60}", "/config/rayVersion"),
    "wrong level": ("config: {logLevel: LOUD}", "/config/logLevel"),
    "toleration's operator": ("config: {job: {pod: {tolerations: [{operator: exists}]}}}", "/operator"),
    "image with a scheme in config": ("config: {job: {image: 'https://r/j:1'}}", "/config/job/image"),
    "registry with a scheme": ("images: {registry: 'https://registry.example.com'}", "/images/registry"),
    "registry as OCI": ("images: {registry: 'oci://registry.example.com/x'}", "/images/registry"),
    "image with a scheme": ("images: {operator: 'docker://r/o:1'}", "/images/operator"),
    "digest cut short": ("images: {digests: {operator: 'sha256:abc'}}", "/images/digests/operator"),
    "tag as a number": ("images: {tag: 1.10}", "/images/tag"),
    "KubeRay as one peer": ("networkPolicy: {kuberay: {podSelector: {}}}", "/networkPolicy/kuberay"),
    "a peer that is everybody": ("networkPolicy: {kuberay: [{}]}", "/networkPolicy/kuberay/0"),
    "label as a list": ("commonLabels: {a: [b]}", "/commonLabels/a"),
    "annotation as a map": ("operator: {podAnnotations: {a: {b: c}}}", "/operator/podAnnotations/a"),
    "label's value with a space": ("commonLabels: {team: machine learning}", "/commonLabels/team"),
    "node's label with a space": ("operator: {nodeSelector: {gpu: h100 sxm}}", "/operator/nodeSelector/gpu"),
    "label's value in config": ("config: {job: {pod: {labels: {a: 'b c'}}}}", "/config/job/pod/labels/a"),
    "quantity in words": ("operator: {resources: {limits: {memory: 512MB}}}", "/operator/resources/limits/memory"),
    "quantity in config": ("config: {gpu: {trainer: {shmSize: 128 Gi}}}", "/config/gpu/trainer/shmSize"),
    "quantity below nothing": ("config: {job: {resources: {limits: {cpu: -1}}}}", "/config/job/resources/limits/cpu"),
    "a number for a name": ("serviceAccount: {name: 007}", "/serviceAccount/name"),
    "a number for a namespace": ("namespaces: [123]", "/namespaces/0"),
    "namespace in capitals": ("namespaces: [Team]", "/namespaces/0"),
    "port 0": ("networkPolicy: {store: {ports: [0]}}", "/networkPolicy/store/ports/0"),
    "store without its keys": ("store: {create: true}", "store.create needs store.endpoint"),
    "store's address without a scheme": ("store: {endpoint: 's3:9000'}", "/store/endpoint"),
    "label's key with a space": ("commonLabels: {'a b': c}", "invalid propertyName 'a b'"),
    "annotation's key with a capital prefix": (
        "commonAnnotations: {Ex_ample/a: c}",
        "invalid propertyName 'Ex_ample/a'",
    ),
    "registry's path in capitals": ("images: {registry: registry.example.com/Team/flywheel}", "/images/registry"),
    "effect of a toleration": ("operator: {tolerations: [{key: a, operator: Exists, effect: NoScheduled}]}", "/effect"),
    "priority class with a space": ("operator: {priorityClassName: high prio}", "/operator/priorityClassName"),
    "a mask that is too long": (
        "networkPolicy: {store: {to: [{ipBlock: {cidr: 10.0.0.0/40}}]}}",
        "/networkPolicy/store/to/0/ipBlock/cidr",
    ),
    "an address without a mask": (
        "networkPolicy: {store: {to: [{ipBlock: {cidr: 10.0.0.1}}]}}",
        "/networkPolicy/store/to/0/ipBlock/cidr",
    ),
    "a peer's selector misspelt": ("networkPolicy: {kuberay: [{podselector: {}}]}", "'podselector' not allowed"),
    "operator of a selector": (
        "networkPolicy: {kuberay: [{podSelector: {matchExpressions: [{key: a, operator: in, values: [b]}]}}]}",
        "/matchExpressions/0/operator",
    ),
    "a bundle that is no PEM": ("store: {caBundle: MIIB}", "/store/caBundle"),
    "an account that exists, without a name": (
        "serviceAccount: {create: false}",
        "name the ServiceAccount that exists",
    ),
    "pods with the operator's account": (
        "namespaces: [flywheel-system]\nserviceAccount: {name: flywheel-jobs}",
        "pods of rounds would have its rights",
    ),
    "pods with the account of the operator's name": (
        "namespaces: [flywheel-system]\nserviceAccount: {jobs: flywheel, create: false, name: flywheel}",
        "pods of rounds would have its rights",
    ),
    "namespaces without rights": ("config: {namespaces: [team-b]}", "config.namespaces gives the operator no rights"),
    "a variable of ours": (
        "operator: {env: [{name: FLYWHEEL_CONFIG, value: /x}]}",
        "FLYWHEEL_CONFIG stands there twice",
    ),
    "a variable twice": ("operator: {env: [{name: A, value: 1}, {name: A, value: 2}]}", "A stands there twice"),
    "a variable of two sources": (
        "operator: {env: [{name: A, value: '', valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}",
        "A has both value and valueFrom",
    ),
    "a variable without a name": ("operator: {env: [{name: '', value: x}]}", "/operator/env/0/name"),
    "a scrape longer than its pause": (
        "metrics: {serviceMonitor: true, interval: 1m, scrapeTimeout: 1m1s}",
        "metrics.scrapeTimeout 1m1s is longer",
    ),
    "a pause in another order": ("metrics: {interval: 30s1m}", "/metrics/interval"),
    "image in capitals": ("images: {operator: 'r.example.com/Team/operator:1'}", "/images/operator"),
    "image with half a digest": ("images: {jobs: 'r/jobs@sha256:abc'}", "/images/jobs"),
    "image with two tags": ("images: {jobs: 'r/jobs:1:2'}", "/images/jobs"),
    "a peer of two kinds": (
        "networkPolicy: {store: {to: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}}",
        "/networkPolicy/store/to/0",
    ),
    "no address": (
        "networkPolicy: {dns: [{ipBlock: {cidr: 10.0.0.256/32}}]}",
        "/networkPolicy/dns/0/ipBlock/cidr",
    ),
    "a selector's number": (
        "networkPolicy: {kuberay: [{podSelector: {matchLabels: {a: 1}}}]}",
        "/networkPolicy/kuberay/0/podSelector/matchLabels/a",
    ),
    "In without values": (
        "networkPolicy: {kuberay: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]}",
        "missing property 'values'",
    ),
    "Exists with values": (
        "networkPolicy: {kuberay: [{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}]}",
        "/matchExpressions/0/values",
    ),
    "Exists with a value": ("operator: {tolerations: [{key: a, operator: Exists, value: b}]}", "/tolerations/0/value"),
    "seconds without NoExecute": (
        "operator: {tolerations: [{key: a, operator: Exists, effect: NoSchedule, tolerationSeconds: 3}]}",
        "/tolerations/0/effect",
    ),
    "a toleration of no key": ("operator: {tolerations: [{value: b}]}", "missing property 'operator'"),
    "the same in config": (
        "config: {job: {pod: {tolerations: [{key: a, operator: Exists, value: b}]}}}",
        "/config/job/pod/tolerations/0/value",
    ),
    "a label's key in config": ("config: {job: {pod: {labels: {'a b': c}}}}", "invalid propertyName 'a b'"),
    "an affinity misspelt": ("operator: {affinity: {nodeAfinity: {}}}", "'nodeAfinity' not allowed"),
    "a domain with a dot at its end": ("config: {clusterDomain: cluster.local.}", "/config/clusterDomain"),
    "a bucket as an address": ("store: {bucket: 's3://b'}", "/store/bucket"),
    "a store's address with a path": ("store: {endpoint: 'https://s/x/y'}", "/store/endpoint"),
    "a key in the store's address": ("store: {endpoint: 'https://a:canary@s'}", "store.endpoint holds a user"),
    "a prefix that leads out": ("store: {prefix: ../x}", "/store/prefix"),
    "a prefix with a hole": ("store: {prefix: a//x}", "/store/prefix"),
    "a region in words": ("store: {region: eu west}", "/store/region"),
    "a key of two lines": ('store: {secretKey: "canary\\nb"}', "store.secretKey holds a line break"),
    "no images": ("images:", "set images.registry"),
    "no registry": ("images: {registry: ''}", "set images.registry"),
}
