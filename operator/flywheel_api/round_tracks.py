"""What a round says about its two data flywheels: the reasoning track and the agentic track."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from flywheel_api.base import ApiModel, SourceRef, config_with_rules
from flywheel_api.bounds import Fraction, PartialFraction, PositiveFraction, Temperature
from flywheel_api.common import Domains


class MiningSpec(ApiModel):
    """Failure mining: how often each problem is tried, and at what temperature; measured variants are, too."""

    samples: Annotated[int, Field(ge=1, le=256, description="Samples per problem.")] = 8
    temperature: Temperature = Field(default="1.0", description="Sampling temperature.")
    max_response_tokens: Annotated[int, Field(ge=1, le=1_048_576)] = Field(
        default=8192, description="Tokens of one sample."
    )
    max_problems: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=10000, description="Problems tried: seeds, and those that earlier rounds left."
    )

    model_config = config_with_rules(
        (
            "self.samples == 1 || double(self.temperature) > 0.0",
            "several samples at temperature 0 are all the same: set mining.temperature above 0, or samples: 1",
        ),
    )


class SynthesisSpec(ApiModel):
    """Variants per mined problem, by operator."""

    structural: Annotated[int, Field(ge=0, le=64)] = Field(
        default=4, description="Variants of a mined problem with another structure."
    )
    persona: Annotated[int, Field(ge=0, le=64)] = Field(
        default=1, description="Variants of a mined problem in a persona's setting."
    )

    model_config = config_with_rules(
        ("self.structural + self.persona > 0", "ask for at least one variant: structural or persona")
    )


class VerificationSpec(ApiModel):
    """Consistency labelling: `agree` of `votes` independent solutions must give the same answer (the paper: 3 of 3)."""

    votes: Annotated[int, Field(ge=1, le=16)] = Field(
        default=3, description="Independent solutions asked for per problem."
    )
    agree: Annotated[int, Field(ge=1, le=16)] = Field(
        default=3, description="How many of them must give the same answer."
    )

    model_config = config_with_rules(
        ("self.agree <= self.votes", "verification.agree must not exceed verification.votes"),
        ("2 * self.agree > self.votes", "verification.agree must be more than half of verification.votes"),
    )


class FilledBandSpec(ApiModel):
    """Which measured pass rates are trained on, and how far the band is filled.

    0 and 1 never are: a group of equal rewards has no gradient.
    """

    low: Fraction | None = Field(
        default=None,
        description="Lowest pass rate kept; unset is the preset's: 0.05 in a round on a model, 0.2 on a round.",
    )
    high: Fraction | None = Field(
        default=None,
        description="Highest pass rate kept; unset is the preset's: 0.95 in a round on a model, 0.8 on a round.",
    )
    samples: Annotated[int, Field(ge=2, le=256)] = Field(
        default=8, description="Samples of the served base per variant, drawn as mining draws them."
    )
    prompts: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None,
        description="Problems wanted in the band; unset is what training's maxSteps visit about three times each, or "
        "all that were found and one step's at least.",
    )
    waves: Annotated[int, Field(ge=0, le=16)] = Field(
        default=3,
        description="Waves of further variants at most, while problems are missing: easier from what is never solved, "
        "harder from what always is, others like what sometimes is.",
    )

    model_config = config_with_rules(
        (
            "!has(self.low) || !has(self.high) || double(self.low) <= double(self.high)",
            "difficulty.low must not exceed difficulty.high",
        )
    )


class DedupSpec(ApiModel):
    """Limits from which a problem counts as a duplicate, or as known from a held-out suite."""

    minhash_threshold: PositiveFraction = Field(
        default="0.8", description="Jaccard similarity above which two problems with the same numbers count as one."
    )
    decontamination_ngram: Annotated[int, Field(ge=3, le=64, description="Words.")] = 13


ColumnName = Annotated[str, Field(min_length=1, max_length=128)]


class Fields(ApiModel):
    """Which columns of a file are what."""

    def columns(self) -> dict[str, str]:
        """Our name to the column's, where one is given."""
        return self.dump()


class ProblemFields(Fields):
    """Which columns of a file of problems are what; a name with dots leads into a struct. Unset ones are found."""

    question: ColumnName | None = Field(default=None, description="The question: a text, or a list of messages.")
    answer: ColumnName | None = Field(
        default=None, description="The answer: alone, after ####, or in the last \\boxed{} of a solution."
    )
    context: ColumnName | None = Field(default=None, description="Messages, or a text, before the question.")
    id: ColumnName | None = Field(default=None, description="An id; where there is none it is made of the content.")


class PersonaFields(Fields):
    """Which columns of a file of personas are what. Unset ones are found; only a text is needed."""

    text: ColumnName | None = Field(default=None, description="A description in a sentence or two.")
    name: ColumnName | None = Field(default=None, description="A first name.")
    trade: ColumnName | None = Field(default=None, description="What the person does.")
    id: ColumnName | None = Field(default=None, description="An id; where there is none it is made of the text.")


_NO_FIELDS = "fields are for files of your own: leave them out with builtin://"


class ReasoningSpec(ApiModel):
    """The reasoning flywheel."""

    seeds: SourceRef = Field(
        description="Seed problems with answers: JSON Lines, JSON, CSV or Parquet, plain, gz or zst, in one object "
        "or in all below a prefix."
    )
    fields: ProblemFields | None = Field(
        default=None, description="Columns of the seeds, where they go by other names."
    )
    mining: MiningSpec = MiningSpec()
    synthesis: SynthesisSpec = SynthesisSpec()
    verification: VerificationSpec = VerificationSpec()
    dedup: DedupSpec = DedupSpec()
    difficulty: FilledBandSpec = FilledBandSpec()
    fresh_share: Fraction = Field(
        default="0.5",
        description="From the second round on: least share of mined problems that are seeds, beside those that earlier "
        "rounds left.",
    )
    replay_share: PartialFraction | None = Field(
        default=None,
        description="Share of training problems that earlier rounds trained on or found solved, answered anew; unset "
        "is the preset's for the round's number: 0, then 0.2.",
    )

    model_config = config_with_rules(("!has(self.fields) || !self.seeds.startsWith('builtin://')", _NO_FIELDS))


class SeedMode(StrEnum):
    """Linear workflows first (the paper's round 0), or trees directly."""

    LINEAR = "Linear"
    TREE = "Tree"


class EnvironmentMode(StrEnum):
    """Who executes tools: the state machine, an LLM for tools without one, or only an LLM."""

    STATE = "State"
    HYBRID = "Hybrid"
    LLM = "LLM"


class Check(StrEnum):
    """How an acceptance check counts: Required keeps a task out, Advisory is recorded and counted, Off is neither."""

    REQUIRED = "Required"
    ADVISORY = "Advisory"
    OFF = "Off"


class SolverSpec(ApiModel):
    """Solvability attempts by the Solver role."""

    attempts: Annotated[int, Field(ge=1, le=64)] = Field(default=3, description="Attempts per task.")
    max_turns: Annotated[int, Field(ge=1, le=256)] = Field(default=15, description="Assistant turns per attempt.")


class AcceptanceSpec(ApiModel):
    """What a solver's attempt must show before a task is trained on; all is computed, nothing judged."""

    branch_hit: Check = Field(default=Check.REQUIRED, description="The solution follows the intended branch.")
    database_diff: Check = Field(default=Check.REQUIRED, description="The final database equals the expected one.")
    trap_absent: Check = Field(default=Check.REQUIRED, description="The solution avoids the trap path.")
    traceability: Check = Field(
        default=Check.REQUIRED, description="Every action follows from what the user or a tool said."
    )


class BandSpec(ApiModel):
    """Keep tasks whose pass rate under the policy lies in [low, high]; at 0 and at 1 a GRPO group has no variance."""

    low: Fraction = Field(default="0", description="Lowest pass rate kept.")
    high: Fraction = Field(default="1", description="Highest pass rate kept.")
    samples: Annotated[int, Field(ge=0, le=256, description="Rollouts per task; 0 does not measure.")] = 0

    model_config = config_with_rules(
        ("double(self.low) <= double(self.high)", "difficulty.low must not exceed difficulty.high")
    )


class AgenticSpec(ApiModel):
    """The agentic flywheel."""

    personas: SourceRef = Field(description="Personas of simulated users: files as for reasoning.seeds.")
    persona_fields: PersonaFields | None = Field(
        default=None, description="Columns of the personas, where they go by other names."
    )
    domains: Domains = Field(description="Environments that tasks are made in.")
    seed_mode: SeedMode = Field(
        default=SeedMode.LINEAR, description="Linear workflows (the paper's round 0) or behaviour trees."
    )
    environment: EnvironmentMode = Field(
        default=EnvironmentMode.STATE,
        description="Who executes tools. This version has State only.",
    )
    fresh_share: Fraction = Field(
        default="0.3",
        description="From the second round on: share of new workflows and personas beside trees that grow.",
    )
    branches_per_tree: Annotated[int, Field(ge=1, le=64)] = Field(
        default=6, description="Branches kept per behaviour tree."
    )
    legal_share: Fraction = Field(
        default="0.5", description="Share of tasks whose request the policy of the domain allows."
    )
    trap_share: Fraction = Field(
        default="0.5",
        description="Among tasks whose request is not allowed: share whose user pushes for the wrong branch.",
    )
    max_tasks: Annotated[int, Field(ge=1, le=10_000_000)] = Field(default=40000, description="Tasks kept for training.")
    solver: SolverSpec = SolverSpec()
    acceptance: AcceptanceSpec = AcceptanceSpec()
    difficulty: BandSpec = BandSpec()
    holdout_personas: PartialFraction = Field(default="0.2", description="Share of personas kept for evaluation only.")

    model_config = config_with_rules(
        ("!has(self.personaFields) || !self.personas.startsWith('builtin://')", _NO_FIELDS),
        (
            "self.environment == 'State'",
            "environment Hybrid and LLM need a tool simulator, which this version lacks: use State",
        ),
    )
