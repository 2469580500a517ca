"""Where a round's promoted model goes: a plain directory of Hugging Face files, outside the store."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flywheel_api.base import S3_PREFIX_PATTERN, SUB_PATH_PATTERN, ApiModel, SecretName, config_with_rules


class ClaimTarget(ApiModel):
    """A directory of a PersistentVolumeClaim in this namespace."""

    name: SecretName = Field(description="Name of the claim; it must be mountable by the Job that writes.")
    path: Annotated[str, Field(pattern=SUB_PATH_PATTERN, max_length=512)] | None = Field(
        default=None, description="Directory in the volume; unset is the round's name."
    )


class ExportSpec(ApiModel):
    """Where the model goes once it is promoted; a round that is held exports nothing."""

    s3: Annotated[str, Field(pattern=S3_PREFIX_PATTERN, max_length=512)] | None = Field(
        default=None,
        description="s3://bucket/prefix of a directory on the store's server, which the store's keys may write.",
    )
    claim: ClaimTarget | None = Field(default=None, description="A directory of a volume.")

    model_config = config_with_rules(
        ("(has(self.s3) ? 1 : 0) + (has(self.claim) ? 1 : 0) == 1", "set exactly one of export.s3 and export.claim"),
    )
