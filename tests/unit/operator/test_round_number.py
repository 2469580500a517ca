"""A round knows its number in its campaign: what a preset changes from round to round reaches the RLJob."""

from __future__ import annotations

import pytest

from flywheel_api.common import ModelStatus
from flywheel_api.results import PackagedDataset, PackageResult, Split, Track
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.round_status import FlywheelRoundStatus
from flywheel_api.stages import Stage
from flywheel_operator.plan.content import training_of

DIGEST = "sha256:" + "0" * 64
SPEC = FlywheelRoundSpec.model_validate(
    {
        "campaign": "c",
        "base": {"round": "c-0"},
        "endpoints": [{"role": "Teacher", "url": "http://t/v1", "model": "t"}],
        "reasoning": {"seeds": "builtin://numeracy"},
        "evaluation": {"suites": [{"name": "numeracy-heldout"}]},
        "training": {"preset": "smollm2-135m-cpu"},
    }
)


@pytest.mark.parametrize(("earlier", "rate"), [([], "1e-5"), ([DIGEST], "1e-5"), ([DIGEST] * 4, "1e-5")])
def test_the_operator_counts_the_promoted_rounds_before_it(earlier: list[str], rate: str) -> None:
    data = PackagedDataset(track=Track.REASONING, split=Split.TRAIN, digest=DIGEST, records=8)
    job = training_of(
        Stage.TRAIN_REASONING,
        SPEC,
        FlywheelRoundStatus(base_model=ModelStatus(uri="s3://b/m", digest=DIGEST), earlier=earlier),
        {},
        PackageResult(datasets=[data]),
    )
    assert job.algorithm.learning_rate == rate
