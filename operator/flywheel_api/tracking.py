"""Which experiment tracker is told of a training, and with whose key."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from flywheel_api.base import SERVED_NAME_PATTERN, ApiModel, EndpointUrl, config_with_rules
from flywheel_api.common import SecretKeyRef

TRACKER_KEY_ENV = "FLYWHEEL_TRACKER_API_KEY"  # of the process that tells the tracker, and of no worker of verl's


class Tracker(StrEnum):
    """Trackers that the images can tell."""

    MLFLOW = "MLflow"
    WANDB = "WeightsAndBiases"
    TRACKIO = "Trackio"


TrackerName = Annotated[str, Field(pattern=SERVED_NAME_PATTERN, max_length=128)]


class TrackingSpec(ApiModel):
    """One run for a training, whatever attempts it takes. TensorBoard's files are in the store without it."""

    type: Tracker = Field(description="MLflow, WeightsAndBiases or Trackio.")
    url: EndpointUrl | None = Field(
        default=None,
        description="Address of the server; unset is W&B's own cloud, the others have none. A Space of Trackio: "
        "https://<owner>-<name>.hf.space.",
    )
    project: TrackerName | None = Field(
        default=None,
        description="Experiment (MLflow) or project (W&B, Trackio) of the runs; unset is the namespace.",
    )
    entity: TrackerName | None = Field(default=None, description="Team or user of W&B; unset: the key's own.")
    api_key: SecretKeyRef | None = Field(
        default=None,
        description="Where the key is: a token, for MLflow user:password as well. Trackio: its server's write token, "
        "for a Space a token of the hub that may write to it.",
    )

    model_config = config_with_rules(
        ("self.type != 'MLflow' || has(self.url)", "tracking.type MLflow needs url: the address of your server"),
        (
            "self.type != 'Trackio' || (has(self.url) && has(self.apiKey))",
            "tracking.type Trackio needs url, the address of your server or Space, and apiKey: its write token, or a "
            "token of the hub",
        ),
        (
            "self.type == 'WeightsAndBiases' || !has(self.entity)",
            "tracking.entity is W&B's: leave it out for MLflow and Trackio",
        ),
        (
            "self.type != 'WeightsAndBiases' || has(self.apiKey)",
            "tracking.type WeightsAndBiases needs apiKey: a key of its account in a Secret of this namespace",
        ),
    )
