"""FlywheelRound: one turn of both data flywheels, from a base model to a promoted (or honestly rejected) one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from flywheel_api.base import (
    INTEGER_PATTERN,
    ApiModel,
    Duration,
    EndpointUrl,
    HeaderValue,
    Name,
    config_with_rules,
    unchanged,
)
from flywheel_api.bounds import Hours, PositiveFraction, Temperature
from flywheel_api.common import Dialect, Reuse, ReuseField, Role, SecretKeyRef, StoreRef
from flywheel_api.pods.template import LikePodTemplate
from flywheel_api.pool import PoolTemplate
from flywheel_api.round_base import BaseSpec, HubSpec
from flywheel_api.round_evaluation import BUILTIN_SUITES, HELDOUT, EvaluationSpec, GateSpec, RegressionSpec, SuiteSpec
from flywheel_api.round_export import ClaimTarget, ExportSpec
from flywheel_api.round_status import (
    DropCount,
    EndpointStatus,
    FlywheelRoundStatus,
    RoleTokens,
    ScoreStatus,
    StageCounts,
    StageState,
    StageStatus,
    UsageStatus,
)
from flywheel_api.round_table import BandLimits, RoundValues
from flywheel_api.round_tracks import (
    AcceptanceSpec,
    AgenticSpec,
    BandSpec,
    Check,
    DedupSpec,
    EnvironmentMode,
    MiningSpec,
    PersonaFields,
    ProblemFields,
    ReasoningSpec,
    SeedMode,
    SolverSpec,
    SynthesisSpec,
    VerificationSpec,
)
from flywheel_api.round_training import AlgorithmOverrides, TrackTraining, TrainingSpec, WarmUp

# the parts of a round that live in modules of their own are part of this one's face
__all__ = [
    "AcceptanceSpec",
    "AgenticSpec",
    "AlgorithmOverrides",
    "BandLimits",
    "BandSpec",
    "BaseSpec",
    "BudgetSpec",
    "Check",
    "ClaimTarget",
    "DedupSpec",
    "DropCount",
    "Endpoint",
    "EndpointStatus",
    "EnvironmentMode",
    "EvaluationSpec",
    "ExportSpec",
    "FlywheelRoundSpec",
    "FlywheelRoundStatus",
    "GateSpec",
    "HubSpec",
    "MiningSpec",
    "PersonaFields",
    "ProblemFields",
    "ReasoningSpec",
    "RegressionSpec",
    "Role",
    "RoleTokens",
    "RoundValues",
    "Sampling",
    "ScoreStatus",
    "SeedMode",
    "SolverSpec",
    "StageCounts",
    "StageState",
    "StageStatus",
    "SuiteSpec",
    "SynthesisSpec",
    "TokenBudget",
    "TrackTraining",
    "TrainingSpec",
    "UsageStatus",
    "VerificationSpec",
    "WarmUp",
]


_PLAYED = (
    "!(self.role in ['ToolSimulator', 'Judge'])",
    "nothing calls the roles ToolSimulator and Judge in this version: leave them out; "
    "the roles are Policy, Teacher, Solver and UserSimulator",
)


class Sampling(ApiModel):
    """Sampling parameters of a role."""

    temperature: Temperature = Field(default="1.0", description="Sampling temperature.")
    top_p: PositiveFraction = Field(default="1.0", description="Nucleus sampling.")
    max_tokens: Annotated[int, Field(ge=1, le=1_048_576)] = Field(default=4096, description="Tokens of one completion.")


class Endpoint(ApiModel):
    """A role's model: an OpenAI-compatible URL, an existing RolloutPool, or a pool of the round's own (Policy only)."""

    role: Role = Field(description="Policy, Teacher, Solver or UserSimulator; this version has these four.")
    url: EndpointUrl | None = Field(
        default=None, description="Base URL of an OpenAI-compatible API, such as https://models.internal/v1."
    )
    pool_ref: Name | None = Field(default=None, description="Name of a RolloutPool in this namespace.")
    pool: PoolTemplate | None = Field(
        default=None, description="Shape of a pool that the round makes, and deletes when it no longer needs it."
    )
    model: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="Model name sent in requests."
    )
    api_key: SecretKeyRef | None = Field(default=None, description="Where the API key is; sent as a bearer token.")
    sampling: Sampling = Sampling()
    concurrency: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=64, description="Requests in flight at once, over all pods of a stage."
    )
    requests_per_minute: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Upper bound of the request rate, over all pods of a stage; unset is none."
    )
    timeout: Duration | None = Field(
        default=None,
        description="Time-out of one request, which then gets twice the time; unset is 90 s, or a second for each 25 "
        "of sampling.maxTokens (Policy: of reasoning.mining.maxResponseTokens as well) where that is more.",
    )
    extra_body: Annotated[dict[str, Any], Field(max_length=64)] | None = Field(
        default=None,
        description="What each request says besides, as a JSON object: {top_k: 20, stop: [END]}. Keys that Flywheel "
        "writes are refused. Policy takes chat_template_kwargs alone, which mining, training and evaluation share.",
    )
    headers: Annotated[dict[str, HeaderValue], Field(max_length=16)] = Field(
        default_factory=dict, description="Headers of each request. None may hold a key: that is apiKey's."
    )
    dialect: Dialect = Field(
        default=Dialect.AUTO,
        description="How tool results are written: Text as role tool, UserTurns as user turns, Tools as OpenAI's tool "
        "calls with ids; Auto takes the first of these that the server accepts.",
    )

    model_config = config_with_rules(
        (
            "(has(self.url) ? 1 : 0) + (has(self.poolRef) ? 1 : 0) + (has(self.pool) ? 1 : 0) == 1",
            "set exactly one of url, poolRef and pool for each endpoint",
        ),
        (
            "!has(self.pool) || self.role == 'Policy'",
            "an inline pool is for role Policy; other roles take url or poolRef",
        ),
        (
            "self.role != 'Policy' || !has(self.sampling) || !has(self.sampling.topP) "
            "|| double(self.sampling.topP) == 1.0",
            "a policy is trained on samples at topP 1, and measured on the same: leave sampling.topP out for role "
            "Policy",
        ),
        ("!has(self.url) || has(self.model)", "an endpoint with a url needs model: the name sent in requests"),
        _PLAYED,
        (
            f"{unchanged(('sampling', 'model', 'dialect', 'poolRef', 'pool.engine', 'extraBody'))} "
            "&& has(self.url) == has(oldSelf.url) && has(self.pool) == has(oldSelf.pool)",
            "an endpoint's model, sampling, dialect, extraBody, poolRef and engine cannot be changed once applied: "
            "apply a new round under another name",
        ),
    )


class TokenBudget(ApiModel):
    """Tokens (prompt and completion) that a role may use in the whole round."""

    role: Role = Field(description="Whose tokens: Policy, Teacher, Solver or UserSimulator.")
    limit: Annotated[str, Field(pattern=INTEGER_PATTERN, max_length=20)] = Field(description="Tokens, as a string.")

    model_config = config_with_rules(_PLAYED)


class BudgetSpec(ApiModel):
    """Hard stops that survive retries."""

    gpu_hours: Hours | None = Field(
        default=None, description="GPU-hours over all stages and attempts; unset is unlimited."
    )
    wall_clock: Duration = Field(default="48h", description="Time from the passed preflight to the end.")
    tokens: Annotated[
        list[TokenBudget],
        Field(
            max_length=8, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["role"]}
        ),
    ] = Field(default_factory=list, description="Limits by role; roles without one are unlimited.")


_INPUTS = (
    *("campaign", "base.round", "base.onHeld", "base.model", "store", "reasoning", "agentic", "evaluation", "seed"),
    *("reuse", "export"),
)
_MAY_CHANGE = (
    "only budget, suspend, base.hub, jobTemplate, training's podTemplate, headTemplate, tracking, retries, stallAfter "
    "and startupTimeout, and an endpoint's url, apiKey, headers, timeout, concurrency, requestsPerMinute and the shape "
    "of its pool can"
)


class FlywheelRoundSpec(ApiModel):
    """One round. No `reasoning` means no reasoning track; no `agentic` likewise."""

    campaign: Name = Field(
        description="The campaign it belongs to: a line of rounds, each from the last one's promoted model."
    )
    base: BaseSpec
    store: StoreRef = StoreRef()
    endpoints: Annotated[
        list[Endpoint],
        Field(
            min_length=1,
            max_length=4,  # the roles that are played; what an older API server thinks rules cost grows with it
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["role"]},
        ),
    ] = Field(description="Who plays each role; roles that are not listed fall back to Teacher.")
    reasoning: ReasoningSpec | None = Field(
        default=None, description="The reasoning flywheel; absent turns the track off."
    )
    agentic: AgenticSpec | None = Field(default=None, description="The agentic flywheel; absent turns the track off.")
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec
    export: ExportSpec | None = Field(
        default=None, description="Where the model goes once it is promoted; unset leaves it in the store."
    )
    budget: BudgetSpec = BudgetSpec()
    job_template: LikePodTemplate | None = Field(
        default=None,
        description="The fields of training.podTemplate for pods of the CPU stages; a change is for the next attempt.",
    )
    suspend: bool = Field(default=False, description="Pause at the next stage boundary with GPUs freed.")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(default=0, description="Seed of every random choice.")
    reuse: ReuseField = Reuse.ALWAYS

    model_config = config_with_rules(
        (
            f"self.evaluation.suites.all(s, has(s.source) || s.name in {list(BUILTIN_SUITES)} || has(self.agentic) "
            f"&& self.agentic.domains.exists(d, d.name + '{HELDOUT}' == s.name))",
            f"a suite without source is {', '.join(BUILTIN_SUITES)} or <name>{HELDOUT} of a domain of "
            "spec.agentic.domains: name one of them, or give the suite its source",
        ),
        ("has(self.reasoning) || has(self.agentic)", "a round needs a track: add spec.reasoning, spec.agentic or both"),
        (
            "self.endpoints.exists(e, e.role == 'Teacher')",
            "name a Teacher in spec.endpoints: it synthesises, and unset roles fall back to it",
        ),
        (
            unchanged(_INPUTS),
            f"a round's inputs cannot be changed once applied ({_MAY_CHANGE}): apply a new round under another name",
        ),
        (
            "self.endpoints.size() == oldSelf.endpoints.size() "
            "&& self.endpoints.all(e, oldSelf.endpoints.exists(o, o.role == e.role))",
            f"who plays which role cannot be changed once applied ({_MAY_CHANGE}): "
            "apply a new round under another name",
        ),
    )
