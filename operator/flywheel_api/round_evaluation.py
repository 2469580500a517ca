"""How a round judges: suites that base and candidate answer, gates, and what holds a round beside them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flywheel_api.base import ApiModel, Name, SourceRef, config_with_rules
from flywheel_api.bounds import Confidence, Fraction, Gain, Score, Temperature
from flywheel_api.common import BUILTIN_DOMAINS
from flywheel_api.round_tracks import ProblemFields


class GateSpec(ApiModel):
    """Lower limits. Gains are paired differences on the same items; a round without any gate promotes nothing."""

    min_score: Score | None = Field(default=None, description="Lowest score of the candidate, 0 to 1.")
    min_gain_over_base: Gain | None = Field(
        default=None, description="Lowest gain over the base, in score; may be negative."
    )
    require_significance: Literal["Point", "Interval"] = Field(
        default="Interval",
        description="Interval: the lower end of the confidence interval must pass, corrected for the number of such "
        "gates; Point: the estimate must, which about half of the candidates that learnt nothing do.",
    )

    model_config = config_with_rules(
        (
            "has(self.minScore) || has(self.minGainOverBase)",
            "a gate needs a limit: set minGainOverBase, minScore or both",
        )
    )


class RegressionSpec(ApiModel):
    """What holds a round beside gates: a suite whose gate asks for no gain, or a stratum, that fell beyond chance."""

    margin: Fraction = Field(
        default="0.05",
        description="By how much such a suite and its strata may fall against base and champion; strata of a suite "
        "with a gain to reach must not fall at all, 1 lets all else fall.",
    )


HELDOUT = "-heldout"
"""What the name of a domain's held-out suite ends with."""
NUMERACY = f"numeracy{HELDOUT}"
BUILTIN_SUITES = (NUMERACY, *(f"{d}{HELDOUT}" for d in BUILTIN_DOMAINS))


class SuiteSpec(ApiModel):
    """A held-out suite: one that is built in, a domain's own, or problems with answers of your own."""

    name: Name = Field(
        description=f"Built in are {', '.join(BUILTIN_SUITES)}; a domain of spec.agentic.domains has "
        f"<its name>{HELDOUT}; with source, a name of your own."
    )
    source: SourceRef | None = Field(
        default=None,
        description="Problems with answers of your own, in files as for reasoning.seeds.",
    )
    fields: ProblemFields | None = Field(
        default=None, description="Columns of the source, where they go by other names."
    )
    items: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Items evaluated, the first so many; unset takes all of a source, 50 of a built-in."
    )
    repeats: Annotated[int, Field(ge=1, le=256)] = Field(
        default=4, description="Samples per item; scores are means over them."
    )
    gate: GateSpec | None = Field(default=None, description="What the candidate must reach to be promoted.")

    model_config = config_with_rules(
        (
            f"!has(self.source) || !(self.name in {list(BUILTIN_SUITES)})",
            f"built-in suites are {', '.join(BUILTIN_SUITES)}: name one of them without source, or give another name",
        ),
        (
            "!has(self.fields) || (has(self.source) && !self.source.startsWith('builtin://'))",
            "fields are for files of your own: leave them out without a source, and with builtin://",
        ),
    )


class EvaluationSpec(ApiModel):
    """Base and candidate on the same held-out items."""

    suites: Annotated[
        list[SuiteSpec],
        Field(
            min_length=1,
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(description="Held-out suites; both models answer the same items.")
    temperature: Temperature = Field(default="0.8", description="Sampling temperature.")
    confidence: Confidence = Field(default="0.95", description="Confidence level of intervals.")
    regression: RegressionSpec = RegressionSpec()
