"""Whether nodes as they are can hold pods that will be made: by devices, labels, taints, driver and size.

What is free now is not asked, and what passes by itself is no reason: a node that is cordoned or not ready may come
back, and what others hold is given back. Pods wait for that in the scheduler's words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from flywheel_api.bounds import quantity
from flywheel_operator.model import NodesSeen, Object

DRIVER_LABELS = ("nvidia.com/cuda.driver-version.major", "nvidia.com/cuda.driver.major")
"""Of NVIDIA's GPU feature discovery, the newer name first."""
_NODE_GROUPS = (
    "karpenter.sh/nodepool",
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
)
"""Labels of nodes that somebody makes as pods want them, or may: another group may have none yet."""
_PASSING_TAINTS = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
    "karpenter.sh/",
)
_KUEUE = "kueue.x-k8s.io/queue-name"


@dataclass(frozen=True)
class Group:
    """Pods of one role that run at the same time: who they are, how many, and one of them (a pod's template).

    `driver`: the lowest major version of NVIDIA's driver that their image runs on, where that is known.
    """

    who: str
    count: int
    template: Object
    driver: int | None = None

    @property
    def pod(self) -> Object:
        """The pod's spec."""
        spec: Object = self.template["spec"]
        return spec

    @property
    def requests(self) -> dict[str, Decimal]:
        """What the scheduler sets aside for one pod: its containers together, or an init container if that is more."""
        found: dict[str, Decimal] = {}
        for container in self.pod["containers"]:
            for name, value in _requests(container).items():
                found[name] = found.get(name, Decimal(0)) + value
        for container in self.pod.get("initContainers", ()):
            for name, value in _requests(container).items():
                found[name] = max(found.get(name, Decimal(0)), value)
        return found

    @property
    def devices(self) -> dict[str, Decimal]:
        """Of the requests those that only some nodes offer."""
        return {name: value for name, value in self.requests.items() if "/" in name}


def judge(groups: Iterable[Group], nodes: Sequence[Object], on_demand: bool | None) -> NodesSeen:
    """What there is to say of the nodes. Where nodes are made on demand, what they lack now stops nothing.

    `on_demand` None: so it is where a node belongs to a group that a cloud or Karpenter can make larger.
    """
    groups = list(groups)
    if not nodes:
        return NodesSeen(None, "not checked: no node is to be seen")
    lacking = next((text for group in groups if (text := misfit(group, nodes)) is not None), None)
    if lacking is None:
        return NodesSeen(True, next((text for group in groups if (text := _driver_unsaid(group, nodes))), ""))
    if on_demand is None:
        on_demand = any(label in _labels(node) for node in nodes for label in _NODE_GROUPS)
    if on_demand:
        return NodesSeen(False, f"{lacking} (nodes are made on demand here: the pods will wait for some)")
    return NodesSeen(False, lacking, refused=True)


def misfit(group: Group, nodes: Sequence[Object]) -> str | None:
    """Why these nodes cannot hold the group, and what to do; None if they can."""
    left = list(nodes)
    for check in _CHECKS:
        kept = [node for node in left if check.holds(group, node)]
        if not kept:
            return f"{group.who} {check.says(group, left)}"
        left = kept
    room = sum(_room(group, node) for node in left)
    if room >= group.count:
        return None
    sizes = ", ".join(f"{name} {_plain(value)}" for name, value in group.requests.items())
    return (
        f"{group.who} are {group.count} at once, of {sizes} each, and the nodes for them hold {room}: add nodes, or "
        "ask for fewer or smaller ones"
    )


@dataclass(frozen=True)
class _Check:
    """Whether a node can hold a pod of the group, and what to say where none of those that are left can."""

    holds: Callable[[Group, Object], bool]
    says: Callable[[Group, list[Object]], str]


def _offers(group: Group, node: Object) -> bool:
    return all(name in _allocatable(node) for name in group.devices)


def _offered(group: Group, left: list[Object]) -> str:
    names = " and ".join(sorted(group.devices))
    return (
        f"ask for {names}, which no node offers: install the device plugin (for GPUs NVIDIA's operator), or add nodes"
    )


def _selected(group: Group, node: Object) -> bool:
    selector: dict[str, str] = group.pod.get("nodeSelector") or {}
    return selector.items() <= _labels(node).items()


def _unselected(group: Group, left: list[Object]) -> str:
    wanted = ", ".join(f"{key}={value}" for key, value in group.pod["nodeSelector"].items())
    return f"want the labels {wanted}, which {_none_of(group, left)} has: correct nodeSelector, or label nodes"


def _attracted(group: Group, node: Object) -> bool:
    """Of node affinity what is required; terms are alternatives."""
    affinity = (group.pod.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(_meets(term, node) for term in required["nodeSelectorTerms"])


def _unattracted(group: Group, left: list[Object]) -> str:
    return f"have a nodeAffinity that {_none_of(group, left)} meets: correct it, or label nodes"


def _tolerated(group: Group, node: Object) -> bool:
    return not _taints(group, node)


def _untolerated(group: Group, left: list[Object]) -> str:
    taints = sorted({f"{t['key']}={t.get('value') or ''}:{t['effect']}" for n in left for t in _taints(group, n)})
    return (
        f"do not tolerate {', '.join(taints)}, which keeps them off each of the {len(left)} nodes for them: add "
        "tolerations (podTemplate.tolerations, or config.<flavour>.<role>.pod.tolerations of the chart)"
    )


def _driven(group: Group, node: Object) -> bool:
    """Whether the driver is new enough, or not said."""
    version = _driver(node)
    return group.driver is None or version is None or version >= group.driver


def _too_old(group: Group, left: list[Object]) -> str:
    newest = max(_driver(node) or 0 for node in left)
    return (
        f"run an image that needs NVIDIA driver {group.driver} or newer, and the newest on the nodes for them is "
        f"{newest}: upgrade it, or give an image for that driver and say so in config.gpu.<role>.driver of the chart"
    )


def _driver_unsaid(group: Group, nodes: Sequence[Object]) -> str:
    holders = [node for node in nodes if group.devices and _offers(group, node)]
    if group.driver is None or not group.devices or any(_driver(node) is not None for node in holders):
        return ""
    return (
        f"{group.who} run an image that needs NVIDIA driver {group.driver} or newer, and no node says which it has "
        f"(label {DRIVER_LABELS[0]} of GPU feature discovery): check it with nvidia-smi"
    )


def _large_enough(group: Group, node: Object) -> bool:
    return _room(group, node) > 0


def _too_small(group: Group, left: list[Object]) -> str:
    largest = {name: max(_allocatable(node).get(name, Decimal(0)) for node in left) for name in group.requests}
    lacking = [
        f"{name} {_plain(value)} (the largest has {_plain(largest[name])})"
        for name, value in group.requests.items()
        if value > largest[name]
    ]
    what = ", ".join(lacking) or ", ".join(f"{n} {_plain(v)}" for n, v in group.requests.items()) + " together"
    return f"ask for {what}, more than any of the {len(left)} nodes for them has: ask for less, or add larger nodes"


_CHECKS = (
    _Check(_offers, _offered),
    _Check(_selected, _unselected),
    _Check(_attracted, _unattracted),
    _Check(_tolerated, _untolerated),
    _Check(_driven, _too_old),
    _Check(_large_enough, _too_small),
)
"""In this order, each on the nodes that the former ones left."""


def _none_of(group: Group, left: list[Object]) -> str:
    devices = f" with {' and '.join(sorted(group.devices))}" if group.devices else ""
    return f"none of the {len(left)} nodes{devices}"


def _room(group: Group, node: Object) -> int:
    """How many pods of the group an empty node holds."""
    there = _allocatable(node)
    counts = [int(there.get(name, Decimal(0)) // asked) for name, asked in group.requests.items() if asked]
    return min(counts, default=group.count)


def _requests(container: Object) -> dict[str, Decimal]:
    """A limit counts where no request is given, as Kubernetes fills it in."""
    sizes = container.get("resources") or {}
    found = (sizes.get("limits") or {}) | (sizes.get("requests") or {})
    return {name: quantity(str(value)) for name, value in found.items()}


def _allocatable(node: Object) -> dict[str, Decimal]:
    sizes = (node.get("status") or {}).get("allocatable") or {}
    found = {name: quantity(str(value)) for name, value in sizes.items()}
    return {name: value for name, value in found.items() if value}


def _labels(node: Object) -> dict[str, str]:
    return node["metadata"].get("labels") or {}


def _driver(node: Object) -> int | None:
    said = next((_labels(node)[label] for label in DRIVER_LABELS if label in _labels(node)), "")
    return int(said) if said.isdigit() else None


def _taints(group: Group, node: Object) -> list[dict[str, Any]]:
    """Taints that keep the group's pods off a node for good. A queue's flavour brings tolerations of its own."""
    if _KUEUE in (group.template["metadata"].get("labels") or {}):
        return []
    hard = (t for t in (node.get("spec") or {}).get("taints") or [] if t.get("effect") != "PreferNoSchedule")
    tolerations = group.pod.get("tolerations") or []
    return [t for t in hard if not t["key"].startswith(_PASSING_TAINTS) and not any(_lets(x, t) for x in tolerations)]


def _lets(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return (toleration.get("key"), toleration.get("value") or "") == (taint["key"], taint.get("value") or "")


def _meets(term: Object, node: Object) -> bool:
    """A term of node affinity; one without requirements is met by none."""
    of_labels, of_fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    fields = {"metadata.name": str(node["metadata"]["name"])}
    found = [_requires(r, _labels(node)) for r in of_labels] + [_requires(r, fields) for r in of_fields]
    return bool(found) and all(found)


def _requires(requirement: Object, there: dict[str, str]) -> bool:
    value, values = there.get(requirement["key"]), requirement.get("values") or []
    match requirement["operator"]:
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case _:  # Gt, Lt
            if value is None or not value.isdigit() or len(values) != 1 or not str(values[0]).isdigit():
                return False
            return (int(value) > int(values[0])) is (requirement["operator"] == "Gt") and value != values[0]


def _plain(value: Decimal) -> str:
    """A quantity for people: bytes in Gi."""
    return f"{value / 2**30:.0f}Gi" if value >= 2**26 else f"{value.normalize():f}"
