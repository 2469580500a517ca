"""Volumes of a pod: what is mounted, where, and what may take the place of a pod's own writable folders."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from flywheel_api.base import ApiModel, Name, ObjectName, SecretName, config_with_rules
from flywheel_api.bounds import quantity, scalar_text


def _size(text: str) -> str:
    quantity(text)
    return text


# a rule of the CRD for so many volumes would cost more than servers before 1.33 allow: Preflight says it
Size = Annotated[str, Field(max_length=32), BeforeValidator(scalar_text), AfterValidator(_size)]


class EphemeralVolume(ApiModel):
    """A volume that is made for each pod, and goes with it."""

    storage_class_name: ObjectName | None = Field(default=None, description="StorageClass; unset is the cluster's.")
    size: Size = Field(description="How large.")


class EmptyDir(ApiModel):
    """A folder of the node, or memory, that goes with the pod."""

    medium: Literal["Memory"] | None = Field(default=None, description="Memory; unset is the node's disk.")
    size_limit: Size | None = Field(default=None, description="A pod that writes more is evicted.")


OWN_PLACES = ("tmp", "home", "models", "cache")
"""Volumes that pods of ours write to: one called so takes the place of an emptyDir, or is the cache of models."""
OF_MODELS = ("models", "cache")
"""Those of pods that hold a model."""
_SOURCES = ("persistentVolumeClaim", "ephemeral", "emptyDir", "hostPath", "configMap", "secret")
_TAKEN_PATHS = re.compile(r"/|/(dev|proc|sys)(/.*)?|/tmp|/cache|/models|/models/model|/export|/home/(ray|flywheel)")
_ONE_SOURCE = f"give each volume exactly one of {', '.join(_SOURCES)}"
_MOUNTED = f"a volume needs a mountPath, but for {', '.join(OWN_PLACES)}, whose places are known"
_IN_CEL = f"self.name in {list(OWN_PLACES)}"


class Volume(ApiModel):
    """A volume and where every container of ours sees it.

    A volume called tmp (checkpoints on their way, at /tmp), home or models (weights, at /models) takes the place of
    the pod's own emptyDir; one called cache keeps models for the pods that come after, or beside.
    """

    name: Name = Field(description="Its name in the pod.")
    mount_path: Annotated[str, Field(max_length=512)] | None = Field(
        default=None,
        description="Absolute path in the containers; tmp, home, models and cache have theirs.",
    )
    sub_path: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Folder of the volume that is mounted; unset is its root."
    )
    read_only: bool = Field(default=False, description="Whether it is mounted for reading only.")
    persistent_volume_claim: ObjectName | None = Field(default=None, description="Name of a claim that exists.")
    ephemeral: EphemeralVolume | None = Field(default=None, description="Made for each pod, and gone with it.")
    empty_dir: EmptyDir | None = Field(default=None, description="A folder of the node, or memory, gone with the pod.")
    host_path: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="A folder of the node that stays, such as a local NVMe disk."
    )
    config_map: ObjectName | None = Field(default=None, description="A ConfigMap's files, such as certificates.")
    secret: SecretName | None = Field(default=None, description="A Secret's files.")

    model_config = config_with_rules(
        (" + ".join(f"(has(self.{source}) ? 1 : 0)" for source in _SOURCES) + " == 1", _ONE_SOURCE),
        (f"{_IN_CEL} ? !has(self.mountPath) : has(self.mountPath)", _MOUNTED),
    )

    @model_validator(mode="after")
    def _can_be_mounted(self) -> Self:
        """The rules of the CRD, for the chart's values, and what they cannot say."""
        wire = self.model_dump(by_alias=True, exclude_none=True).keys()
        if len(wire & set(_SOURCES)) != 1:
            raise ValueError(_ONE_SOURCE)
        if (self.name in OWN_PLACES) == (self.mount_path is not None):
            raise ValueError(_MOUNTED)
        if self.name in ("shm", "export"):
            raise ValueError(f"the volume {self.name} is Flywheel's own: choose another name")
        if self.name in OWN_PLACES and (self.read_only or self.config_map or self.secret):
            raise ValueError(f"volume {self.name} is written to: give it one that can be")
        for what, path in (("mountPath", self.mount_path), ("hostPath", self.host_path)):
            if path is not None and (not path.startswith("/") or ".." in path.split("/") or ":" in path):
                raise ValueError(f"{what} {path!r} is no absolute path without `..` and `:`")
        if self.sub_path is not None and (self.sub_path.startswith("/") or ".." in self.sub_path.split("/")):
            raise ValueError(f"subPath {self.sub_path!r} is no relative path without `..`")
        if self.mount_path is not None and _TAKEN_PATHS.fullmatch(self.mount_path.rstrip("/") or "/"):
            raise ValueError(
                f"mountPath {self.mount_path} is taken: call the volume {', '.join(OWN_PLACES)} to take the place of "
                "Flywheel's own, or mount it elsewhere"
            )
        return self
