"""`training.rounds`: what a user lets change from round to round of a campaign, by the round's number.

One spec can then be applied round after round under another name. Each value holds from its entry's round on, until a
later entry says another; it goes before what the round says elsewhere, which is what holds before the first entry, and
that before the preset's own table (`flywheel_api.turns`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from flywheel_api.base import ApiModel, config_with_rules
from flywheel_api.bounds import Fraction, KLWeight, LearningRate, PartialFraction


class BandLimits(ApiModel):
    """Which measured pass rates the reasoning track trains on."""

    low: Fraction | None = Field(default=None, description="Lowest pass rate kept.")
    high: Fraction | None = Field(default=None, description="Highest pass rate kept.")

    model_config = config_with_rules(
        ("has(self.low) || has(self.high)", "set difficulty.low, difficulty.high or both, or leave difficulty out"),
        (
            "!has(self.low) || !has(self.high) || double(self.low) <= double(self.high)",
            "difficulty.low must not exceed difficulty.high",
        ),
    )


class RoundValues(ApiModel):
    """What changes from a round of the campaign on; what an entry does not say stays as it was."""

    from_: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        alias="from",
        description="Number of the first round that it holds for: 1 is a round on a model (status.byRound).",
    )
    learning_rate: LearningRate | None = Field(
        default=None, description="Peak learning rate of both tracks; replaces algorithm.learningRate of each."
    )
    kl_coefficient: KLWeight | None = Field(
        default=None, description="Weight of the KL loss of both tracks; replaces algorithm.klCoefficient of each."
    )
    replay_share: PartialFraction | None = Field(default=None, description="Replaces reasoning.replayShare.")
    difficulty: BandLimits | None = Field(
        default=None, description="Replaces low and high of reasoning.difficulty, one by one."
    )

    model_config = config_with_rules(
        (
            "has(self.learningRate) || has(self.klCoefficient) || has(self.replayShare) || has(self.difficulty)",
            "say what changes from that round on: learningRate, klCoefficient, replayShare or difficulty",
        )
    )


@dataclass(frozen=True)
class Stated:
    """What a table says of one round; None, or a field of AlgorithmSpec that is not there, is not said."""

    low: str | None = None
    high: str | None = None
    replay_share: str | None = None
    algorithm: dict[str, str] = field(default_factory=dict)


def stated(table: Sequence[RoundValues], number: int) -> Stated:
    """What a table says of the round of this number: of each value the last entry that has begun and says it."""
    begun = sorted((entry for entry in table if entry.from_ <= number), key=lambda entry: entry.from_, reverse=True)
    bands = [entry.difficulty for entry in begun if entry.difficulty is not None]

    def last(values: Sequence[str | None]) -> str | None:
        return next((value for value in values if value is not None), None)

    algorithm = {
        "learning_rate": last([entry.learning_rate for entry in begun]),
        "kl_coefficient": last([entry.kl_coefficient for entry in begun]),
    }
    return Stated(
        low=last([band.low for band in bands]),
        high=last([band.high for band in bands]),
        replay_share=last([entry.replay_share for entry in begun]),
        algorithm={name: value for name, value in algorithm.items() if value is not None},
    )
