"""What a report shows, as plain values.

Scores are fractions in [0, 1], times are aware datetimes, durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flywheel_api.artifacts import RoleUsage, ServedBy
from flywheel_api.results import FormScore, GateOutcome, Loss, MatrixRow, Track, Verdict, WarmUpResult
from flywheel_api.round_status import StageState


@dataclass(frozen=True)
class StageRow:
    """One stage of the pipeline; `track` is None for the stages that both share, `reused_from` who made its result."""

    name: str
    state: StageState
    track: Track | None = None
    attempt: int = 0
    started: datetime | None = None
    finished: datetime | None = None
    items_in: int | None = None
    items_out: int | None = None
    dropped: tuple[tuple[str, int], ...] = ()
    tokens: int = 0
    manifest: str | None = None
    reused_from: str | None = None

    @property
    def seconds(self) -> float | None:
        """Wall time of the stage with all its attempts; None while it has not ended."""
        if self.started is None or self.finished is None:
            return None
        return (self.finished - self.started).total_seconds()


@dataclass(frozen=True)
class AttemptRow:
    """An attempt that failed; `log` is where all that it printed is kept, `tail` the end of it."""

    stage: str
    attempt: int
    cause: str
    message: str
    log: str = ""
    tail: str = ""


@dataclass(frozen=True)
class Score:
    """A score or a gain with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupScore:
    """Scores of the items that share an expected outcome, over `n` samples each."""

    outcome: str
    base: float | None
    candidate: float | None
    n: int


@dataclass(frozen=True)
class Suite:
    """Base against candidate on the same held-out items; `items` are sampled `repeats` times each."""

    name: str
    track: Track
    items: int
    repeats: int
    base: Score | None
    candidate: Score | None
    gain: Score | None
    gate: GateOutcome | None
    groups: tuple[GroupScore, ...] = ()
    failures: tuple[tuple[str, int, int], ...] = ()  # reason, samples of base, samples of candidate
    forms: tuple[FormScore | None, FormScore | None] = (None, None)  # of base and candidate
    by_form: bool = False
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True)
class Series:
    """A named line of a curve: (step, value) in the order of steps."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Vital:
    """A number of each training step beside the reward; `share` says that it lies between 0 and 1."""

    series: Series
    share: bool


@dataclass(frozen=True)
class Training:
    """One RL run: rewards, the share of right answers where rewards also pay for form, and rewards by outcome."""

    name: str
    reward: Series
    success: Series | None = None
    by_outcome: tuple[Series, ...] = ()
    vitals: tuple[Vital, ...] = ()
    warm_up: WarmUpResult | None = None
    manifest: str | None = None
    rollouts: str | None = None
    step: int | None = None


@dataclass(frozen=True)
class KindRow:
    """Measured pass rates of the tasks of one kind; None where nobody was measured."""

    kind: str
    tasks: int
    policy: float | None
    solver: float | None


@dataclass(frozen=True)
class DifficultyView:
    """Measured difficulty of the round's tasks: pass rates by depth, and by kind."""

    by_depth: tuple[Series, ...]
    kinds: tuple[KindRow, ...]
    tasks: int


@dataclass(frozen=True)
class Cost:
    """Samples of the policy, and the tokens that they are."""

    what: str
    samples: int
    tokens: int


@dataclass(frozen=True)
class MeasuredView:
    """Problems by measured band, those that are trained on by family, and what measuring cost beside training."""

    bands: tuple[tuple[str, int], ...]
    families: tuple[tuple[str, int], ...]
    note: str
    costs: tuple[Cost, ...]


@dataclass(frozen=True)
class ToolCall:
    """A call as the model wrote it; arguments are JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Turn:
    """One message of a trajectory."""

    role: str
    text: str
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class Sample:
    """One answer or trajectory of a model on an item; `source` says whose and from where."""

    source: str
    score: float
    turns: tuple[Turn, ...]
    outcome: str | None = None
    note: str = ""


@dataclass(frozen=True)
class SampleItem:
    """An item with what base and candidate did on it. `prompt` is what their conversations begin with alike."""

    title: str
    suite: str
    track: Track
    samples: tuple[Sample, ...]
    prompt: tuple[Turn, ...] = ()
    expected: str = ""


@dataclass(frozen=True)
class Node:
    """A manifest in the lineage graph, or something from outside the round that one of them read."""

    digest: str
    label: str
    kind: str
    inputs: tuple[tuple[str, str], ...] = ()
    files: int = 0
    size: int = 0
    external: bool = False


@dataclass(frozen=True)
class RoleUse:
    """What the round spent on a role, and who played it."""

    usage: RoleUsage
    served: ServedBy
    changes: tuple[str, ...] = ()  # what was not the same for all answers of a stage, in words


@dataclass(frozen=True)
class ReportModel:
    """Everything on the page."""

    round: str
    namespace: str
    uid: str
    campaign: str
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()
    standin: bool = False
    notice: str = ""
    base_model: str | None = None
    held_base: str | None = None
    model: str | None = None
    stages: tuple[StageRow, ...] = ()
    attempts: tuple[AttemptRow, ...] = ()
    suites: tuple[Suite, ...] = ()
    matrix: tuple[MatrixRow, ...] = ()
    trainings: tuple[Training, ...] = ()
    difficulty: DifficultyView | None = None
    measured: MeasuredView | None = None
    items: tuple[SampleItem, ...] = ()
    lineage: tuple[Node, ...] = ()
    roles: tuple[RoleUse, ...] = ()
    images: tuple[tuple[str, str], ...] = ()
    versions: tuple[str, ...] = ()
    spec: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    made_at: datetime | None = None

    @property
    def started(self) -> datetime | None:
        """When the first stage began."""
        return min((s.started for s in self.stages if s.started), default=None)

    @property
    def finished(self) -> datetime | None:
        """When the last ended stage ended."""
        return max((s.finished for s in self.stages if s.finished), default=None)
