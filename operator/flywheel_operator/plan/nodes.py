"""Whether nodes as they are can hold pods that will be made: by devices, labels, taints, driver and size.

What is free now is not asked, and what passes by itself is no reason: a node that is cordoned or not ready may come
back, and what others hold is given back. Pods wait for that in the scheduler's words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

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


@dataclass(frozen=True)
class Node:
    """What is judged by of a node. Thousands are judged at each look of Preflight, so whoever reads them parses them.

    `sizes`: what it offers to pods; nothing of 0. `driver`: major version of NVIDIA's, where a label says it.
    """

    name: str
    labels: Mapping[str, str]
    taints: tuple[Object, ...]
    sizes: Mapping[str, Decimal]
    driver: int | None


@dataclass(frozen=True)
class Group:
    """Pods of one role that run at the same time: who they are, how many, and what one of them wants.

    `requests`: what the scheduler sets aside for one; `devices`: names of these that only some nodes offer. `terms`: of
    a required node affinity; None: there is none. `queued`: Kueue lets them in, and its flavours bring tolerations.
    `driver`: the lowest major version of NVIDIA's driver that their image runs on, where that is known.
    """

    who: str
    count: int
    requests: Mapping[str, Decimal]
    devices: frozenset[str]
    selector: Mapping[str, str]
    terms: tuple[Object, ...] | None
    tolerations: tuple[Object, ...]
    queued: bool
    driver: int | None


def judge(groups: Iterable[Group], nodes: Sequence[Node], on_demand: bool | None) -> NodesSeen:
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
        on_demand = any(label in node.labels for node in nodes for label in _NODE_GROUPS)
    if on_demand:
        return NodesSeen(False, f"{lacking} (nodes are made on demand here: the pods will wait for some)")
    return NodesSeen(False, lacking, refused=True)


def misfit(group: Group, nodes: Sequence[Node]) -> str | None:
    """Why these nodes cannot hold the group, and what to do; None if they can."""
    left = list(nodes)
    for check in _CHECKS:
        kept = [node for node in left if check.holds(group, node)]
        if not kept:
            return f"{group.who} {check.says(group, left)}"
        left = kept
    room = 0
    for node in left:
        room += _room(group, node)
        if room >= group.count:
            return None
    return f"{group.who} {_too_few(group, room) if room else _too_small(group, left)}"


@dataclass(frozen=True)
class _Check:
    """Whether a node can hold a pod of the group, and what to say where none of those that are left can."""

    holds: Callable[[Group, Node], bool]
    says: Callable[[Group, list[Node]], str]


def _offers(group: Group, node: Node) -> bool:
    return group.devices <= node.sizes.keys()


def _offered(group: Group, left: list[Node]) -> str:
    names = " and ".join(sorted(group.devices))
    return (
        f"ask for {names}, which no node offers: install the device plugin (for GPUs NVIDIA's operator), or add nodes"
    )


def _selected(group: Group, node: Node) -> bool:
    return group.selector.items() <= node.labels.items()


def _unselected(group: Group, left: list[Node]) -> str:
    wanted = ", ".join(f"{key}={value}" for key, value in group.selector.items())
    return f"want the labels {wanted}, which {_none_of(group, left)} has: correct nodeSelector, or label nodes"


def _attracted(group: Group, node: Node) -> bool:
    """Terms are alternatives."""
    return group.terms is None or any(_meets(term, node) for term in group.terms)


def _unattracted(group: Group, left: list[Node]) -> str:
    return f"have a nodeAffinity that {_none_of(group, left)} meets: correct it, or label nodes"


def _tolerated(group: Group, node: Node) -> bool:
    return not _taints(group, node)


def _untolerated(group: Group, left: list[Node]) -> str:
    taints = sorted({f"{t['key']}={t.get('value') or ''}:{t['effect']}" for n in left for t in _taints(group, n)})
    return (
        f"do not tolerate {', '.join(taints)}, which keeps them off each of the {len(left)} nodes for them: add "
        "tolerations (podTemplate.tolerations, or config.<flavour>.<role>.pod.tolerations of the chart)"
    )


def _driven(group: Group, node: Node) -> bool:
    """Whether the driver is new enough, or not said."""
    return group.driver is None or node.driver is None or node.driver >= group.driver


def _too_old(group: Group, left: list[Node]) -> str:
    newest = max(node.driver or 0 for node in left)
    return (
        f"run an image that needs NVIDIA driver {group.driver} or newer, and the newest on the nodes for them is "
        f"{newest}: upgrade it, or give an image for that driver and say so in config.gpu.<role>.driver of the chart"
    )


def _driver_unsaid(group: Group, nodes: Sequence[Node]) -> str:
    holders = [node for node in nodes if group.devices and _offers(group, node)]
    if group.driver is None or not group.devices or any(node.driver is not None for node in holders):
        return ""
    return (
        f"{group.who} run an image that needs NVIDIA driver {group.driver} or newer, and no node says which it has "
        f"(label {DRIVER_LABELS[0]} of GPU feature discovery): check it with nvidia-smi"
    )


def _too_few(group: Group, room: int) -> str:
    sizes = ", ".join(f"{name} {_plain(value)}" for name, value in group.requests.items())
    return (
        f"are {group.count} at once, of {sizes} each, and the nodes for them hold {room}: add nodes, or ask for fewer "
        "or smaller ones"
    )


def _too_small(group: Group, left: list[Node]) -> str:
    largest = {name: max(node.sizes.get(name, Decimal(0)) for node in left) for name in group.requests}
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
)
"""In this order, each on the nodes that the former ones left."""


def _none_of(group: Group, left: list[Node]) -> str:
    devices = f" with {' and '.join(sorted(group.devices))}" if group.devices else ""
    return f"none of the {len(left)} nodes{devices}"


def _room(group: Group, node: Node) -> int:
    """How many pods of the group an empty node holds."""
    counts = (int(node.sizes.get(name, Decimal(0)) // asked) for name, asked in group.requests.items() if asked)
    return min(counts, default=group.count)


def _taints(group: Group, node: Node) -> list[Object]:
    """Taints that keep the group's pods off a node for good."""
    if group.queued:
        return []
    hard = (
        t for t in node.taints if t.get("effect") != "PreferNoSchedule" and not t["key"].startswith(_PASSING_TAINTS)
    )
    return [taint for taint in hard if not any(_lets(toleration, taint) for toleration in group.tolerations)]


def _lets(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return (toleration.get("key"), toleration.get("value") or "") == (taint["key"], taint.get("value") or "")


def _meets(term: Object, node: Node) -> bool:
    """A term of node affinity; one without requirements is met by none."""
    of_labels, of_fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    fields = {"metadata.name": node.name}
    found = [_requires(r, node.labels) for r in of_labels] + [_requires(r, fields) for r in of_fields]
    return bool(found) and all(found)


def _requires(requirement: Object, there: Mapping[str, str]) -> bool:
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
