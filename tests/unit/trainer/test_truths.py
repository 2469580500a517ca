"""Rows of an RLJob are refused before a cluster runs on them when nothing in them could ever be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel_api.records.prompt import of_task
from flywheel_api.results import CurvePoint
from flywheel_api.rljob import RewardType, RLJobSpec
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.trainer import reward, truths
from unit.agentic.world import shelf, task


def spec(kind: str, **more: Any) -> RLJobSpec:
    return RLJobSpec.model_validate(
        {"model": "hf://a/b", "data": {"train": ["s3://b/t.parquet"]}, "reward": {"type": kind}} | more
    )


def rows(folder: Path, values: list[Any]) -> Path:
    path = folder / "t.parquet"
    pq.write_table(pa.table({"reward_model": [{"ground_truth": value} for value in values]}), path)
    return path


@pytest.mark.parametrize("values", [["72"] * 3, [72, 73], [72.0, 0.5], ["x #### 72"], ["\\boxed{\\frac12}", "(0,1]"]])
def test_truths_that_answers_can_meet(tmp_path: Path, values: list[Any]) -> None:
    truths.check(rows(tmp_path, values), spec("Math"), shelf())
    assert reward.compute_score("own", f"\\boxed{{{values[0]}}}", values[0])["correct"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([None, None], "row 1 .* is NoneType"), ([["72"]], "is list"), ([{"target": 72}], "is dict"),
        ([True], "is bool"),
        ([" ", "72"], "1 of 2 truths .* row 1"), (["see the text"] * 2, "cannot be compared"),
        (["5" * 400], "such as row 1"),
    ],
)  # fmt: skip
def test_truths_that_no_answer_can_meet(tmp_path: Path, values: list[Any], sentence: str) -> None:
    with pytest.raises(ValidationFailure, match=sentence):
        truths.check(rows(tmp_path, values), spec("Math"), shelf())
    truths.check(rows(tmp_path, values), spec("Custom", reward={"type": "Custom", "entryPoint": "a:b"}), shelf())


def test_an_answer_that_was_cut_off_earns_nothing() -> None:
    assert reward.compute_score("own", "\\boxed{72}", "72", {"cut": False})["score"] == 1.0
    assert reward.compute_score("own", "\\boxed{72}", "72", {"cut": True})["score"] == 0.0


def test_a_few_bad_truths_are_counted(tmp_path: Path) -> None:
    truths.check(rows(tmp_path, ["7"] * 39 + ["?"]), spec("Math"), shelf())


def test_a_task_that_is_not_what_its_record_says() -> None:
    good = task()
    truths.check_task("row 1", of_task(good).row(), shelf())
    for change, why in (
        ({"right": good.right.model_copy(update={"state": "another"})}, "lead to other tables than the record says"),
        ({"case": good.case | {"edits": [{"table": "bookings", "row": "no", "column": "fare", "value": 1}]}}, "played"),
        ({"case": {}}, "cannot be played: a case has a wrong domain"),
        ({"package": "sha256:" + "0" * 64}, "name it in agentLoop.domains"),
    ):
        with pytest.raises(ValidationFailure, match=f"row 1: .*{why}"):
            truths.check_task("row 1", of_task(good.model_copy(update=change)).row(), shelf())
    with pytest.raises(ValidationFailure, match=r"row 1: .*JSON"):
        truths.check_task("row 1", {**of_task(good).row(), "extra_info": {"task": "{"}}, shelf())


@pytest.mark.parametrize(
    ("points", "nothing"),
    [
        ([CurvePoint(step=1, success=0.0)], True), ([CurvePoint(step=1, success=0.0, reward_max=0.1)], True),
        ([CurvePoint(step=1, success=0.0), CurvePoint(step=2, success=0.1)], False), ([CurvePoint(step=1)], False),
        ([CurvePoint(step=1, reward_max=0.0)], True), ([CurvePoint(step=1, reward_max=1.0)], False), ([], False),
    ],
)  # fmt: skip
def test_a_training_in_which_nothing_is_right_is_seen(points: list[CurvePoint], nothing: bool) -> None:
    said = truths.nothing_right(points, RewardType.MATH)
    assert said == (truths.NOTHING_RIGHT + truths.ASKED if nothing else "")


def test_a_task_is_not_asked_for_an_answer() -> None:
    """Nothing was right in the first step of a multi-turn training, and its progress spoke of prompts and answers."""
    assert truths.nothing_right([CurvePoint(step=1, reward_max=0.0)], RewardType.STATE_DIFF) == truths.NOTHING_RIGHT
