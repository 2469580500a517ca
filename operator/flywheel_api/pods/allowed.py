"""The chart's allow-list: what a person who may create our objects may change of their pods, and what they may not.

Closed by default is what reaches beyond the object's own pods: the node, other people's Secrets, another's rights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from pydantic import Field

from flywheel_api.base import ApiModel
from flywheel_api.pods.template import PodTemplate, SecurityContext


class AllowList(ApiModel):
    """What `podTemplate`, `headTemplate` and `jobTemplate` may say; anything else makes the object InvalidSpec."""

    image: bool = Field(default=True, description="Whether another image may be named.")
    image_prefixes: list[str] = Field(default_factory=list, description="Allowed beginnings; empty allows every image.")
    resources: bool = Field(default=True, description="Whether requests and limits may be set.")
    env: bool = Field(default=True, description="Whether variables may be set.")
    labels: bool = Field(default=True, description="Whether labels may be added.")
    annotations: bool = Field(default=True, description="Whether annotations may be added.")
    node_selector: bool = Field(default=True, description="Whether nodes may be chosen.")
    tolerations: bool = Field(default=True, description="Whether taints may be tolerated.")
    affinity: bool = Field(default=True, description="Whether affinity may be set.")
    topology_spread_constraints: bool = Field(default=True, description="Whether pods may be spread.")
    priority_class_names: list[str] = Field(default_factory=list, description="Allowed names; empty allows none.")
    scheduler_names: list[str] = Field(default_factory=list, description="Allowed names; empty allows none.")
    runtime_class_names: list[str] = Field(default_factory=list, description="Allowed names; empty allows none.")
    service_account_names: list[str] = Field(default_factory=list, description="Allowed names; empty allows none.")
    host_network: bool = Field(default=False, description="Whether the node's network may be used.")
    dns: bool = Field(default=True, description="Whether dnsPolicy and dnsConfig may be set.")
    volumes: bool = Field(
        default=True, description="Whether claims, ephemeral and emptyDir volumes and ConfigMaps may be mounted."
    )
    host_paths: list[str] = Field(
        default_factory=list, description="Folders of nodes that may be mounted, with all below; empty allows none."
    )
    secret_names: list[str] = Field(
        default_factory=list,
        description="Secrets that pods may get by secretEnv, secretEnvFrom, imagePullSecrets and volumes; empty allows "
        "none. Whoever may write a podTemplate can read what is allowed here.",
    )
    run_as_users: list[int] = Field(
        default_factory=list, description="Users that securityContext may name, 0 is root; empty allows none."
    )
    capabilities: list[str] = Field(
        default_factory=list, description="Capabilities that may be added, such as IPC_LOCK; empty allows none."
    )

    def refusal(self, template: PodTemplate) -> str | None:
        """What of a template is not allowed, and by which key of the list; None if all is."""
        refused = chain(self._switched(template), self._named(template), self._volumes(template))
        return next((f"{what} is not allowed here (config.podTemplate.{key})" for what, key in refused), None)

    def _switched(self, t: PodTemplate) -> Iterator[tuple[str, str]]:
        """Fields that are allowed or not, with the key that says so."""
        fields = (
            ("resources", t.resources, self.resources),
            ("env", t.env, self.env),
            ("labels", t.labels, self.labels),
            ("annotations", t.annotations, self.annotations),
            ("nodeSelector", t.node_selector, self.node_selector),
            ("tolerations", t.tolerations, self.tolerations),
            ("affinity", t.affinity, self.affinity),
            ("topologySpreadConstraints", t.topology_spread_constraints, self.topology_spread_constraints),
            ("hostNetwork", t.host_network, self.host_network),
        )
        yield from ((name, name) for name, said, may in fields if said and not may)
        dns = (("dnsPolicy", t.dns_policy), ("dnsConfig", t.dns_config))
        yield from ((name, "dns") for name, said in dns if said and not self.dns)

    def _named(self, t: PodTemplate) -> Iterator[tuple[str, str]]:
        """Words that have to be on a list, with its key."""
        if t.image is not None and not (self.image and t.image.startswith(tuple(self.image_prefixes or [""]))):
            yield "image", "imagePrefixes" if self.image else "image"
        may = t.security_context or SecurityContext()
        added = may.capabilities.add if may.capabilities is not None else []
        fields: tuple[tuple[str, Sequence[str | int | None], Sequence[str | int], str], ...] = (
            ("priorityClassName", [t.priority_class_name], self.priority_class_names, "priorityClassNames"),
            ("schedulerName", [t.scheduler_name], self.scheduler_names, "schedulerNames"),
            ("runtimeClassName", [t.runtime_class_name], self.runtime_class_names, "runtimeClassNames"),
            ("serviceAccountName", [t.service_account_name], self.service_account_names, "serviceAccountNames"),
            ("imagePullSecrets", t.image_pull_secrets, self.secret_names, "secretNames"),
            ("secretEnv", [e.secret_name for e in t.secret_env], self.secret_names, "secretNames"),
            ("secretEnvFrom", t.secret_env_from, self.secret_names, "secretNames"),
            ("securityContext.runAsUser", [may.run_as_user], self.run_as_users, "runAsUsers"),
            ("securityContext.capabilities", added, self.capabilities, "capabilities"),
        )
        for name, said, allowed, key in fields:
            yield from ((f"{name} {word}", key) for word in said if word is not None and word not in allowed)

    def _volumes(self, t: PodTemplate) -> Iterator[tuple[str, str]]:
        for volume in t.volumes:
            path, secret = volume.host_path, volume.secret
            if path is not None:
                if not any(_inside(path, folder) for folder in self.host_paths):
                    yield f"volumes {volume.name}: hostPath {path}", "hostPaths"
            elif secret is not None:
                if secret not in self.secret_names:
                    yield f"volumes {volume.name}: Secret {secret}", "secretNames"
            elif not self.volumes:
                yield f"volumes {volume.name}", "volumes"


def _inside(path: str, folder: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")
