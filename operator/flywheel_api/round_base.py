"""What a round trains from."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from flywheel_api.base import ApiModel, EndpointUrl, ModelRef, Name, config_with_rules
from flywheel_api.common import SecretKeyRef


class HubSpec(ApiModel):
    """Where a model of `hf://` is imported from."""

    endpoint: EndpointUrl | None = Field(
        default=None, description="Address of a hub or mirror that speaks its protocol; unset is the public one."
    )
    token: SecretKeyRef | None = Field(default=None, description="Where the token for gated or private models is.")


class OnHeld(StrEnum):
    """What a round does whose base round was held, and so has no model of its own."""

    REFUSE = "Refuse"
    USE_ITS_BASE = "UseItsBase"


class BaseSpec(ApiModel):
    """What the round trains from."""

    round: Name | None = Field(
        default=None, description="The promoted model of that round, in this namespace; waits for it."
    )
    on_held: OnHeld | None = Field(
        default=None,
        description="When that round was held: Refuse (unset is this), or UseItsBase starts from the model that it "
        "trained from, as the same number of the campaign: it tries its problems again and grows its tasks.",
    )
    model: ModelRef | None = Field(default=None, description="A committed checkpoint, an S3 prefix or a hub id.")
    hub: HubSpec | None = Field(default=None, description="The hub of a model of hf://, and the token for it.")

    model_config = config_with_rules(
        ("has(self.round) != has(self.model)", "set exactly one of base.round and base.model"),
        (
            "!has(self.onHeld) || has(self.round)",
            "base.onHeld says what to do when base.round was held: leave it out beside base.model",
        ),
        (
            "!has(self.hub) || (has(self.model) && self.model.startsWith('hf://'))",
            "base.hub is for a base.model of hf://: leave it out, or write hf://org/name[@revision]",
        ),
    )
