"""Where a round's promoted model goes: plain Hugging Face files, outside the store."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flywheel_api.base import (
    HUB_REPO_PATTERN,
    S3_PREFIX_PATTERN,
    SUB_PATH_PATTERN,
    ApiModel,
    EndpointUrl,
    SecretName,
    config_with_rules,
)
from flywheel_api.common import SecretKeyRef


class ClaimTarget(ApiModel):
    """A directory of a PersistentVolumeClaim in this namespace."""

    name: SecretName = Field(description="Name of the claim; it must be mountable by the Job that writes.")
    path: Annotated[str, Field(pattern=SUB_PATH_PATTERN, max_length=512)] | None = Field(
        default=None, description="Directory in the volume; unset is the round's name."
    )


class HubTarget(ApiModel):
    """A model of a hub; it is made if it is not there, and gets all files in one commit."""

    repo: Annotated[str, Field(pattern=HUB_REPO_PATTERN, max_length=256)] = Field(description="org/name on the hub.")
    token: SecretKeyRef = Field(description="Where the token is that may write there.")
    private: bool = Field(default=True, description="False publishes it for everybody.")
    endpoint: EndpointUrl | None = Field(
        default=None, description="Address of a hub that speaks its protocol; unset is the public one."
    )


class ExportSpec(ApiModel):
    """Where the model goes once it is promoted; a round that is held exports nothing."""

    s3: Annotated[str, Field(pattern=S3_PREFIX_PATTERN, max_length=512)] | None = Field(
        default=None,
        description="s3://bucket/prefix of a directory on the store's server, which the store's keys may write.",
    )
    claim: ClaimTarget | None = Field(default=None, description="A directory of a volume.")
    hub: HubTarget | None = Field(default=None, description="A model of a hub.")

    model_config = config_with_rules(
        (
            "[has(self.s3), has(self.claim), has(self.hub)].filter(x, x).size() == 1",
            "set exactly one of export.s3, export.claim and export.hub",
        ),
    )
