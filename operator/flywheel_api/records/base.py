"""What all records share: camelCase on disk, a schema with a version, an id made of content, a lineage."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field

from flywheel_api.base import StatusModel
from flywheel_api.canonical import canonical_json

R = TypeVar("R", bound="Record")


class Lineage(StatusModel):
    """Where a record comes from."""

    parent_ids: list[str] = Field(default_factory=list, description="Ids of the records that it was made from.")
    round: str = Field(default="", description="Name of the round that made it.")
    operator: str = Field(default="seed", description="How it was made, such as seed, structural or training-rollout.")
    root_id: str | None = Field(default=None, description="Id of the seed at the root of its ancestors.")
    persona_id: str = Field(default="", description="Persona that it is set in.")
    template: str = Field(default="", description="Template or workflow that it follows.")
    branch_path: list[str] = Field(default_factory=list, description="Ids of the branches from the tree's root.")
    standin: bool = Field(default=False, description="True when a scripted stand-in had a part in it.")


class Record(StatusModel):
    """Base of all records. Every kind adds `schema`, a constant such as `sample/v1`."""

    id: str = Field(description="Id of the record, unique in its kind.")
    lineage: Lineage = Field(default=Lineage(), description="Where the record comes from.")

    model_config = ConfigDict(protected_namespaces=())

    @classmethod
    def schema_name(cls) -> str:
        """`sample/v1`: what a manifest says of a file of these records."""
        return str(cls.model_fields["schema_"].default)


class PassRate(StatusModel):
    """`k` of `n` samples of the policy were right."""

    n: int = Field(description="Samples.")
    k: int = Field(description="Right ones.")

    @property
    def rate(self) -> float:
        """k / n; 0 when nothing was sampled."""
        return self.k / self.n if self.n else 0.0


class Message(StatusModel):
    """A chat message of a prompt."""

    role: Literal["system", "user", "assistant", "tool"] = Field(description="Who speaks.")
    content: str = Field(description="What is said.")


def content_digest(*parts: Any) -> str:
    """What a record says, whatever it is called: splits, pairs and repeats go by this, never by an id alone."""
    return hashlib.sha256(canonical_json(list(parts))).hexdigest()[:32]


def record_id(kind: str, *parts: Any) -> str:
    """A short id that is a function of content: the same record has the same id in every attempt."""
    return f"{kind}-{hashlib.sha256(canonical_json(list(parts))).hexdigest()[:16]}"
