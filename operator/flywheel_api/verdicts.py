"""What the gate decides, and what it decides by: gates, gains, losses, the campaign's scores over its rounds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from flywheel_api.base import StatusModel

Interval = Annotated[list[float], Field(min_length=2, max_length=2, description="Lower and upper end, 0 to 1.")]
GainInterval = Annotated[
    list[float], Field(min_length=2, max_length=2, description="Confidence interval of the gain, -1 to 1.")
]


class Verdict(StrEnum):
    """How a round ended. The gate decides between Promoted and Held; Failed means that there was no verdict."""

    PROMOTED = "Promoted"
    HELD = "Held"
    FAILED = "Failed"


class GateOutcome(StrEnum):
    """Whether a suite reached its limits; None where the suite has no gate."""

    PASSED = "Passed"
    FAILED = "Failed"
    NONE = "None"


class FormScore(StatusModel):
    """A model's answers by form, apart from whether the form was right as well as the answer."""

    format_rate: float = Field(description="Share of samples that give an answer in the form that is asked for.")
    lenient: float = Field(description="Share of samples whose last value is the right answer, whatever the form.")


class SuiteVerdict(StatusModel):
    """A suite as the gate judged it: both scores, the paired gain, and whether its limits were reached."""

    suite: str = Field(description="Name of the suite.")
    base: float = Field(description="Score of the base, 0 to 1.")
    base_interval: Interval = Field(description="Its confidence interval.")
    candidate: float = Field(description="Score of the candidate, 0 to 1.")
    candidate_interval: Interval = Field(description="Its confidence interval.")
    gain: float = Field(description="Mean of the paired differences, candidate less base.")
    gain_interval: GainInterval
    items: int = Field(default=0, description="Items that both models were scored on, by content.")
    unpaired: int = Field(default=0, description="Items that only one of them was scored on.")
    gate: GateOutcome = Field(description="Whether the suite's limits were reached.")
    by_form: bool = Field(
        default=False,
        description="The gain is one of form: right answers whatever their form did not become more beyond chance.",
    )
    reasons: list[str] = Field(default_factory=list, description="One sentence per limit that was checked.")


class Loss(StatusModel):
    """A suite, or a stratum of one, that is lower than it was."""

    suite: str = Field(description="Name of the suite.")
    against: Literal["base", "champion"] = Field(description="Whom the candidate is compared with.")
    stratum: str = Field(default="", description="Dimension and value, such as `outcome refund`; empty for the suite.")
    before: float = Field(description="Score of the base or champion on the items of both, 0 to 1.")
    after: float = Field(description="Score of the candidate on them.")
    gain: float = Field(description="Mean of the paired differences; negative.")
    gain_interval: GainInterval
    items: int = Field(description="Items of both.")
    chance: float = Field(
        description="How probably an equal model falls so far, corrected over the strata of the suite (Holm)."
    )
    shown: bool = Field(description="Whether it is beyond chance and beyond the margin: then it holds the round.")


class ChampionGain(StatusModel):
    """Paired gain over the campaign's last promoted model on the items that both were given."""

    suite: str = Field(description="Name of the suite.")
    items: int = Field(default=0, description="Items that both were given, by content.")
    unpaired: int = Field(default=0, description="Items that only one of them was given.")
    gain: float = Field(description="Mean of the paired differences, candidate less champion.")
    gain_interval: GainInterval


class MatrixRow(StatusModel):
    """A round's model on the suites of the campaign: a row of the forgetting matrix."""

    round: str = Field(description="Name of the round.")
    model: str = Field(description="Digest of its candidate.")
    scores: dict[str, float] = Field(default_factory=dict, description="Suite to mean score, 0 to 1.")
    items: dict[str, str] = Field(
        default_factory=dict, description="Suite to a digest of its items: a suite may have others under its name."
    )

    def compares(self, other: MatrixRow, suite: str) -> bool:
        """Whether both were asked the same items of a suite, as far as that is known."""
        return suite not in self.items or suite not in other.items or self.items[suite] == other.items[suite]


class VerdictResult(StatusModel):
    """Gate: the decision, and the model that it is about: a promoted model is taken from here and nowhere else."""

    kind: Literal["Verdict"] = Field(default="Verdict", description="Tells results apart.")
    verdict: Verdict = Field(description="Promoted or Held.")
    model: str = Field(description="Digest of the evaluated checkpoint, which a promotion promotes.")
    step: int | None = Field(default=None, description="Training step of that checkpoint.")
    reasons: list[str] = Field(default_factory=list, description="Why, one sentence each.")
    suites: list[SuiteVerdict] = Field(default_factory=list, description="Every suite, in the order of the spec.")
    losses: list[Loss] = Field(default_factory=list, description="What is lower than it was, by name.")
    champion: list[ChampionGain] = Field(default_factory=list, description="Comparison with the campaign's champion.")
    matrix: list[MatrixRow] = Field(
        default_factory=list, description="The campaign's promoted models and this candidate on every suite, in order."
    )
