"""What the stages of a round and the trainings produce: one frozen model per kind of result, told apart by `kind`.

A manifest carries exactly one of them (`artifacts.Manifest.result`). Both halves of Flywheel read and write results
through these models only, so that what a stage writes is what the operator decides by.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from flywheel_api.base import StatusModel
from flywheel_api.common import Dialect, DomainPin
from flywheel_api.verdicts import ChampionGain as ChampionGain
from flywheel_api.verdicts import FormScore as FormScore
from flywheel_api.verdicts import GateOutcome as GateOutcome
from flywheel_api.verdicts import Interval as Interval
from flywheel_api.verdicts import Loss as Loss
from flywheel_api.verdicts import MatrixRow as MatrixRow
from flywheel_api.verdicts import SuiteVerdict as SuiteVerdict
from flywheel_api.verdicts import Verdict as Verdict
from flywheel_api.verdicts import VerdictResult as VerdictResult

Tally = Annotated[dict[str, int], Field(description="Number of items by name.")]


class Track(StrEnum):
    """The two data flywheels; the values are the names of their fields in a round's spec."""

    REASONING = "reasoning"
    AGENTIC = "agentic"


class Split(StrEnum):
    """What a packaged data set is for."""

    TRAIN = "train"
    VALIDATION = "validation"
    WARM_UP = "warm-up"


class SuiteInfo(StatusModel):
    """A held-out suite as Prepare built it; its items are in the file `suites/<name>.jsonl`."""

    name: str = Field(description="Name of the suite, as in spec.evaluation.suites.")
    track: Track = Field(description="Whether items are problems (reasoning) or tasks (agentic).")
    items: int = Field(description="Number of items.")
    earlier: str | None = Field(
        default=None, description="The earlier round of the campaign whose suite it is, run again to see what is lost."
    )
    repeats: int | None = Field(
        default=None, description="Samples per item, where the spec does not say: earlier ones."
    )

    @property
    def path(self) -> str:
        """Where its items lie among Prepare's files."""
        return f"suites/{self.name}.jsonl"


class EndpointFinding(StatusModel):
    """What a handshake with a role's endpoint found, before anything was spent."""

    role: str = Field(description="Role that was asked.")
    model: str = Field(description="Model as its answers name it.")
    window: int | None = Field(default=None, description="Tokens of its context window, if it says them.")
    dialect: Dialect = Field(default=Dialect.TEXT, description="How results of tools are written for it.")
    samples: Literal["Many", "One"] = Field(default="Many", description="Samples that one request gives (n).")
    sampling: Literal["AsWritten", "OfItsOwn"] = Field(
        default="AsWritten", description="Whether it takes temperature and topP; else they are left out."
    )
    seed: Literal["Accepted", "Refused"] = Field(default="Accepted", description="Whether it takes a seed.")
    structured_output: Literal["Json", "Ignored", "Refused", "Unknown"] = Field(
        default="Json",
        description="Whether a JSON schema makes it answer JSON. Unknown: it was cut off, as in a long thought, at "
        "1,024 tokens too.",
    )
    usage: Literal["Reported", "Estimated"] = Field(
        default="Reported", description="Whether it counts tokens; else they are estimated from characters."
    )


class PreparedResult(StatusModel):
    """Prepare: suites, seed problems and training personas."""

    kind: Literal["Prepared"] = Field(default="Prepared", description="Tells results apart.")
    suites: list[SuiteInfo] = Field(description="The suites that were built.")
    endpoints: list[EndpointFinding] = Field(default_factory=list, description="What handshakes found, by role.")
    domains: list[DomainPin] = Field(
        default_factory=list, description="Packages of the agentic track, in the files domains/<name>.tar."
    )
    set_aside: Tally = Field(
        default_factory=dict, description="Wrong rows by source; they are in the file quarantine.jsonl."
    )

    def suite(self, name: str) -> SuiteInfo | None:
        """What is known of a suite, if it was built."""
        return next((s for s in self.suites if s.name == name), None)


class GroupScore(StatusModel):
    """Score of the items of a suite that expect the same outcome."""

    score: float = Field(description="Mean score, 0 to 1.")
    interval: Interval = Field(description="Confidence interval of the score.")
    n: int = Field(description="Number of samples: items times repeats.")


class SuiteScore(StatusModel):
    """A model's score on a suite."""

    name: str = Field(description="Name of the suite.")
    track: Track = Field(description="Track of the suite.")
    score: float = Field(description="Mean score, 0 to 1.")
    interval: Interval = Field(description="Confidence interval of the score, clustered by item.")
    n: int = Field(description="Number of samples: items times repeats.")
    items: int = Field(description="Items that were scored.")
    repeats: int = Field(description="Samples per item.")
    temperature: float | None = Field(default=None, description="What its samples were drawn at.")
    max_tokens: int | None = Field(default=None, description="Tokens of an answer, at most.")
    lost: int = Field(default=0, description="Items that could not be scored.")
    reasons: Tally = Field(default_factory=dict, description="Failed samples by reason.")
    groups: dict[str, GroupScore] = Field(default_factory=dict, description="Scores by expected outcome.")
    form: FormScore | None = Field(default=None, description="Form and right answers apart; of reasoning suites.")


class EvaluationResult(StatusModel):
    """EvaluateBase and EvaluateCandidate: the scores of one model on every suite."""

    kind: Literal["Evaluation"] = Field(default="Evaluation", description="Tells results apart.")
    model: str | None = Field(default=None, description="Digest of the evaluated checkpoint, or hf://org/name.")
    suites: list[SuiteScore] = Field(description="Scores in the order of the spec.")

    def suite(self, name: str) -> SuiteScore | None:
        """The score of a suite, if it was evaluated."""
        return next((s for s in self.suites if s.name == name), None)


class MinedResult(StatusModel):
    """MineReasoning: how hard the seed problems are for the policy."""

    kind: Literal["Mined"] = Field(default="Mined", description="Tells results apart.")
    bands: Tally = Field(default_factory=dict, description="Problems by band: hard, frontier, solved.")
    low: float = Field(default=0.0, description="Lowest pass rate of the round's band.")
    high: float = Field(default=1.0, description="Highest pass rate of the round's band.")
    carried: int = Field(default=0, description="Problems that earlier rounds left; the others are seeds.")


class SynthesizedResult(StatusModel):
    """SynthesizeReasoning: candidates that the teacher wrote."""

    kind: Literal["Synthesized"] = Field(default="Synthesized", description="Tells results apart.")
    by_operator: Tally = Field(default_factory=dict, description="Candidates by synthesis operator.")


class VerifiedResult(StatusModel):
    """VerifyReasoning: candidates whose answer independent solutions agreed on."""

    kind: Literal["Verified"] = Field(default="Verified", description="Tells results apart.")


class MeasuredResult(StatusModel):
    """MeasureReasoning: the problems that are trained on, by what the model that is trained now makes of them."""

    kind: Literal["Measured"] = Field(default="Measured", description="Tells results apart.")
    bands: Tally = Field(default_factory=dict, description="Measured problems by band: hard, frontier, solved.")
    families: Tally = Field(default_factory=dict, description="Problems that are trained on by family, replay apart.")
    wanted: int = Field(default=0, description="Problems in the band that the round asked for, replay apart.")
    found: int = Field(default=0, description="Those that it found.")
    replayed: int = Field(default=0, description="Problems of earlier rounds that are answered anew.")
    waves: int = Field(default=0, description="Waves of further variants that were made.")
    samples: int = Field(default=0, description="Samples of the policy that this took, those of mining apart.")
    tokens: int = Field(default=0, description="Tokens of the policy that this took.")
    note: str = Field(default="", description="All of it in a sentence, and what to do where problems are missing.")


class SeededResult(StatusModel):
    """SeedAgentic: what behaviour trees grow from."""

    kind: Literal["Seeded"] = Field(default="Seeded", description="Tells results apart.")
    end_groups: Tally = Field(default_factory=dict, description="Observed episodes by how they ended.")
    fresh: int = Field(default=0, description="Seeds that this round made; the others were trained on before.")


class ExpandedResult(StatusModel):
    """ExpandAgentic: behaviour trees."""

    kind: Literal["Expanded"] = Field(default="Expanded", description="Tells results apart.")
    kinds: Tally = Field(default_factory=dict, description="Branches by kind.")
    refused: Tally = Field(default_factory=dict, description="Proposed branches that were not accepted, by why.")


class InvertedResult(StatusModel):
    """InvertAgentic: tasks for which one branch is the right one."""

    kind: Literal["Inverted"] = Field(default="Inverted", description="Tells results apart.")
    outcomes: Tally = Field(default_factory=dict, description="Tasks by expected outcome.")
    kinds: Tally = Field(default_factory=dict, description="Tasks by kind of branch.")


class Difficulty(StatusModel):
    """How often tasks of one depth and kind were passed, those that were not kept among them."""

    depth: int = Field(description="Branches from the root of the tree.")
    kind: str = Field(description="Kind of the branch.")
    tasks: int = Field(description="Number of tasks.")
    policy_n: int = Field(default=0, description="Attempts of the policy.")
    policy_k: int = Field(default=0, description="Its right ones.")
    solver_n: int = Field(default=0, description="Attempts of the solver.")
    solver_k: int = Field(default=0, description="Its right ones.")


class SolvedResult(StatusModel):
    """SolveAgentic: tasks that the solver solved as intended."""

    kind: Literal["Solved"] = Field(default="Solved", description="Tells results apart.")
    outcomes: Tally = Field(default_factory=dict, description="Accepted tasks by expected outcome.")
    dialogues: int = Field(default=0, description="Accepted tasks whose user answers.")
    bands: Tally = Field(
        default_factory=dict, description="Measured tasks by the policy's pass rate: hard, frontier, solved."
    )
    difficulty: list[Difficulty] = Field(default_factory=list, description="Measured pass rates by depth and kind.")


class PackagedDataset(StatusModel):
    """A data set of a track; `digest` names a manifest of its own, whose only file is the Parquet file."""

    track: Track = Field(description="Track that trains on it.")
    split: Split = Field(description="Training or validation.")
    digest: str = Field(description="Digest of the data set's manifest.")
    records: int = Field(description="Rows.")


class PackageResult(StatusModel):
    """Package: the data sets of both tracks. A track without rows has none."""

    kind: Literal["Package"] = Field(default="Package", description="Tells results apart.")
    datasets: list[PackagedDataset] = Field(default_factory=list, description="Data sets by track and split.")

    def dataset(self, track: Track, split: Split) -> str | None:
        """Digest of a data set, if it was made."""
        return next((d.digest for d in self.datasets if d.track is track and d.split is split), None)


class DatasetResult(StatusModel):
    """One packaged data set in verl's Parquet form."""

    kind: Literal["Dataset"] = Field(default="Dataset", description="Tells results apart.")
    track: Track = Field(description="Track that trains on it.")
    split: Split = Field(description="Training or validation.")


class RolloutsResult(StatusModel):
    """The trajectories that a training kept: what the next round mines and expands."""

    kind: Literal["Rollouts"] = Field(default="Rollouts", description="Tells results apart.")
    step: int = Field(description="Last training step whose trajectories are in it.")


class OutcomeReward(StatusModel):
    """Reward of the trajectories of a step that expect the same outcome."""

    reward: float = Field(description="Mean reward.")
    n: int = Field(description="Trajectories.")


class CurvePoint(StatusModel):
    """One training step. Means are over its trajectories, times are in seconds; what verl did not say is unset."""

    step: int = Field(description="Number of the step, from 1.")
    reward: float | None = Field(default=None, description="Mean reward of the trajectories that count.")
    reward_min: float | None = Field(default=None, description="Lowest reward.")
    reward_max: float | None = Field(default=None, description="Highest reward.")
    success: float | None = Field(default=None, description="Share of right answers, where the reward gives more.")
    by_outcome: dict[str, OutcomeReward] = Field(default_factory=dict, description="Reward by expected outcome.")
    trajectories: int | None = Field(default=None, description="Trajectories of the step, masked ones included.")
    masked: int | None = Field(
        default=None, description="Trajectories that do not count; what is neither below was ended by an outage."
    )
    unscored: int | None = Field(
        default=None, description="Of those, trajectories that could not be scored: the reward gave no finite number."
    )
    overlong: int | None = Field(
        default=None, description="Of those, trajectories at their token limit, where algorithm.overlong is Mask."
    )
    unreadable: int | None = Field(default=None, description="Records of trajectories that could not be read.")
    non_finite: list[str] = Field(
        default_factory=list, description="verl's names of losses and gradient norms that were NaN or infinite."
    )
    groups: int | None = Field(default=None, description="Groups of samples of one prompt.")
    zero_variance_groups: int | None = Field(default=None, description="Groups whose rewards are all the same.")
    form_only_groups: int | None = Field(default=None, description="Groups that differ by the form of answers only.")
    reward_spread: float | None = Field(
        default=None, description="Standard deviation of rewards within a group, mean over groups."
    )
    updates_skipped: float | None = Field(
        default=None, description="1 where no group carried an advantage, so that the optimiser made no step."
    )
    format_rate: float | None = Field(default=None, description="Share of answers in the form that is asked for.")
    distinct_answers: float | None = Field(
        default=None, description="Different final answers per trajectory; near 0 where one answer is given to all."
    )
    truncated: float | None = Field(default=None, description="Share of trajectories that ran into their token limit.")
    kl: float | None = Field(default=None, description="KL to the starting model, where it is part of the loss.")
    kl_update: float | None = Field(default=None, description="KL between sampling and update, by verl's estimate.")
    learning_rate: float | None = Field(default=None, description="Learning rate after the step.")
    entropy: float | None = Field(default=None, description="Entropy of the policy, nats per token.")
    grad_norm: float | None = Field(default=None, description="Norm of the gradient before clipping.")
    clip_fraction: float | None = Field(default=None, description="Share of tokens whose ratio was clipped.")
    response_tokens: float | None = Field(default=None, description="Tokens of a response.")
    prompt_tokens: float | None = Field(default=None, description="Tokens of a prompt.")
    turns: float | None = Field(default=None, description="Turns of a trajectory.")
    rollout_probs_diff_max: float | None = Field(
        default=None, description="Largest difference of a token's probability between sampler and trainer."
    )
    seconds: float | None = Field(default=None, description="Seconds of the step.")
    seconds_generate: float | None = Field(default=None, description="Seconds of sampling.")
    seconds_update: float | None = Field(default=None, description="Seconds of the optimiser's update.")
    seconds_sync: float | None = Field(default=None, description="Seconds of moving weights to the sampler.")
    seconds_save: float | None = Field(default=None, description="Seconds of writing a checkpoint.")
    tokens_per_second: float | None = Field(default=None, description="Tokens trained on per second.")
    validation: dict[str, float] = Field(default_factory=dict, description="verl's validation metrics by name.")

    @property
    def informative(self) -> int | None:
        """Groups that carried an advantage, where it is known."""
        if self.groups is None or self.zero_variance_groups is None:
            return None
        return self.groups - self.zero_variance_groups - (self.form_only_groups or 0)


class WarmUpResult(StatusModel):
    """The supervised fine-tuning before RL: the model that RL starts from, in Hugging Face form."""

    kind: Literal["WarmUp"] = Field(default="WarmUp", description="Tells results apart.")
    conversations: int = Field(description="Conversations that it was trained on.")
    too_long: int = Field(default=0, description="Conversations that were left out: prompt or response is too long.")
    losses: list[float] = Field(description="Loss of each step, nats per token.")


class TrainingStateResult(StatusModel):
    """A checkpoint from which a training can be resumed."""

    kind: Literal["TrainingState"] = Field(default="TrainingState", description="Tells results apart.")
    step: int = Field(description="Step of the checkpoint.")
    curve: list[CurvePoint] = Field(default_factory=list, description="All steps up to it, of all attempts.")


class TrainingResult(StatusModel):
    """A finished training: the merged model in Hugging Face form."""

    kind: Literal["Training"] = Field(default="Training", description="Tells results apart.")
    step: int = Field(description="Step of the checkpoint that was merged.")
    trained_steps: int | None = Field(default=None, description="Steps that were made, of all attempts.")
    unhealthy: str | None = Field(
        default=None, description="What of the curve looked like a collapse, if anything did."
    )
    stopped: bool = Field(default=False, description="Whether the training was ended for that.")
    total_steps: int | None = Field(default=None, description="Steps that were planned.")
    algorithm: str = Field(default="", description="GRPO, GSPO, DAPO or PPO.")
    resumed_from_step: int | None = Field(default=None, description="Step that the last attempt resumed from.")
    curve: list[CurvePoint] = Field(default_factory=list, description="All steps, of all attempts.")
    training_state: str | None = Field(default=None, description="Digest of the checkpoint that was merged.")
    warm_up: WarmUpResult | None = Field(default=None, description="The fine-tuning that it started from, if any.")
    rollouts: str | None = Field(default=None, description="Digest of the data set of its trajectories.")

    @property
    def made(self) -> int:
        """Steps that were made; of a release that did not say it, the published one."""
        return self.trained_steps or self.step


class ModelResult(StatusModel):
    """A model that was imported into the store."""

    kind: Literal["Model"] = Field(default="Model", description="Tells results apart.")
    source: str = Field(default="", description="Where it came from.")
    licence: str = Field(default="", description="Licence of the model.")


class ImportedResult(StatusModel):
    """ImportModel: a model of a hub, or of a directory of files, as a committed checkpoint."""

    kind: Literal["Imported"] = Field(default="Imported", description="Tells results apart.")
    model: str = Field(description="Digest of the checkpoint: equal files have the same.")
    source: str = Field(description="hf://org/name@commit, or the s3:// address of the directory.")
    licence: str = Field(default="", description="Licence of the model, as its page says it.")
    bytes: int = Field(description="Size of its files.")


class ExportedResult(StatusModel):
    """Export: the promoted model as a plain directory of Hugging Face files."""

    kind: Literal["Exported"] = Field(default="Exported", description="Tells results apart.")
    model: str = Field(description="Digest of the checkpoint.")
    uri: str = Field(description="Where the directory is.")
    bytes: int = Field(description="Size of the model's files.")


class ReportResult(StatusModel):
    """Report: where the page is, and what it could not show."""

    kind: Literal["Report"] = Field(default="Report", description="Tells results apart.")
    uri: str = Field(description="s3:// address of the page.")
    missing: list[str] = Field(default_factory=list, description="Parts that could not be read.")


Result = Annotated[
    PreparedResult
    | EvaluationResult
    | MinedResult
    | SynthesizedResult
    | VerifiedResult
    | MeasuredResult
    | SeededResult
    | ExpandedResult
    | InvertedResult
    | SolvedResult
    | PackageResult
    | DatasetResult
    | RolloutsResult
    | WarmUpResult
    | TrainingStateResult
    | TrainingResult
    | ModelResult
    | ImportedResult
    | VerdictResult
    | ExportedResult
    | ReportResult,
    Field(discriminator="kind", description="What was made; `kind` says which result it is."),
]
