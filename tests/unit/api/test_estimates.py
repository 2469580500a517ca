"""Estimates of whole rounds: what pages say of them, which pools they count, and how `make estimate` says no."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flywheel_api.capacity import whole
from flywheel_api.capacity.__main__ import shown
from flywheel_api.capacity.hardware import CARDS
from flywheel_api.capacity.shape import KNOWN
from flywheel_api.capacity.text import estimate
from flywheel_api.capacity.whole import round_estimate
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.sampling import ONE_BY_ONE

ROOT = Path(__file__).resolve().parents[3]
H100 = CARDS["H100"]


def _said(text: str, what: str) -> list[float]:
    """The range before a word of a text, such as `830 to 2,130 GPU-hours`."""
    found = re.search(rf"([\d.,]+) to ([\d.,]+) {what}", text)
    assert found is not None, (what, text)
    return [float(number.replace(",", "")) for number in found.groups()]


@pytest.mark.parametrize("where", ["README.md", "examples/round-8b.yaml", "examples/round-30b-a3b.yaml"])
def test_figures_beside_a_round_are_the_estimate_s_and_its_budget_holds_them(where: str) -> None:
    """A round as a page shows it would have ended in BudgetExhausted, and comments told of an older formula."""
    text = (ROOT / where).read_text()
    block = re.search(r"```yaml\n(apiVersion:.*?)```", text, re.DOTALL)
    body = block[1] if block else text
    printed = estimate(body)
    comment = next(line for line in body.splitlines() if "`make estimate`" in line)
    middle = r"GPU-hours, "
    gpu_hours, hours = _said(printed, middle), _said(printed.partition("GPU-hours, ")[2], "hours on GPUs")
    assert _said(comment, middle) == pytest.approx(gpu_hours, rel=0.02)
    assert _said(comment.partition("GPU-hours, ")[2], "hours") == pytest.approx(hours, rel=0.02)
    budget = yaml.safe_load(body)["spec"]["budget"]
    assert float(budget["gpuHours"]) >= gpu_hours[1] and float(budget["wallClock"].removesuffix("h")) >= hours[1]


@pytest.mark.parametrize(("column", "example"), [(0, "round-8b"), (1, "round-30b-a3b")])
def test_the_table_of_costs_is_the_estimate_s(column: int, example: str) -> None:
    rows = [line.strip("| ").split(" | ") for line in (ROOT / "docs/recipes.md").read_text().splitlines()]
    table = {row[0]: row[1:] for row in rows if len(row) == 3}
    found = round_estimate(
        FlywheelRoundSpec.model_validate(yaml.safe_load((ROOT / f"examples/{example}.yaml").read_text())["spec"]),
        KNOWN["Qwen3-8B" if column == 0 else "Qwen3-30B-A3B"],
        H100,
    )
    ranges = {"GPU-hours of the round": found.gpu_hours, "days on GPUs": found.hours / 24}
    for row, middle in ranges.items():
        assert _said(table[row][column] + " x", "x") == pytest.approx([0.7 * middle, 1.8 * middle], rel=0.02), row
    tokens = table["tokens: Teacher, Solver, UserSimulator"][0].split(", ")
    assert [float(n) for n in tokens] == pytest.approx(list(found.tokens.values()), rel=0.02)


def _serving_hours(**spec: Any) -> float:
    """GPU-hours of a round beside its trainings."""
    body = yaml.safe_load((ROOT / "examples/round-8b.yaml").read_text())["spec"] | spec
    found = round_estimate(FlywheelRoundSpec.model_validate(body), KNOWN["Qwen3-8B"], H100)
    steps = sum(found.steps[t] * one.step["step"] / 3600 + whole.STARTS for t, one in found.trainings.items())
    return found.gpu_hours - 8 * steps


def test_pools_that_the_operator_makes_are_counted() -> None:
    """Without a Policy the round has a pool of one replica; with somebody else's base it serves the candidate still."""
    teacher = {"role": "Teacher", "url": "http://t/v1", "model": "t"}
    policy: dict[str, Any] = {"role": "Policy", "sampling": {"maxTokens": 4096}}
    alone = _serving_hours(endpoints=[teacher])
    assert alone == pytest.approx(_serving_hours(endpoints=[teacher, policy | {"pool": {}}]), rel=0.01) and alone > 5
    elsewhere = _serving_hours(endpoints=[teacher, policy | {"url": "http://p/v1", "model": "p"}])
    assert 0.1 < elsewhere < alone / 2


def test_short_samples_of_an_item_are_decoded_together() -> None:
    def hours(samples: int, tokens: int) -> float:
        reasoning = {
            "seeds": "s3://s/x",
            "mining": {"samples": samples, "maxResponseTokens": tokens, "maxProblems": 9999},
        }
        few = {"role": "Policy", "pool": {}, "concurrency": 8, "sampling": {"maxTokens": tokens}}
        return _serving_hours(
            endpoints=[{"role": "Teacher", "url": "http://t/v1", "model": "t"}, few], reasoning=reasoning
        )

    short, long = [hours(8, n) / hours(1, n) for n in (ONE_BY_ONE, ONE_BY_ONE + 1)]
    assert short < 0.5 * long


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ((ROOT / "examples/round-next.yaml").read_text(), "the shape of round demo-r1 is not known: give its config"),
        ((ROOT / "examples/store-secret.yaml").read_text(), "no FlywheelRound, RLJob or RolloutPool"),
        ("[]", "no FlywheelRound, RLJob or RolloutPool"),
        ("", "no FlywheelRound, RLJob or RolloutPool"),
        ("kind: RLJob", "no FlywheelRound, RLJob or RolloutPool"),
        ("{kind: FlywheelRound, spec: {base: hf://Qwen/Qwen3-8B}}", "spec."),
        ("{kind: FlywheelRound, spec: {base: [a]}}", "is not known"),
        ("{kind: RLJob, spec: {model: [hf://Qwen/Qwen3-8B]}}", "is not known"),
        ("{kind: RLJob, spec: {model: 5}}", "the shape of 5 is not known"),
        ("a: b: c", "no YAML: mapping values"),
        ("\n---\n".join([(ROOT / "examples/rljob.yaml").read_text()] * 2), "2 resources in one file"),
        ("{kind: RLJob, metadata: {name: a}, spec: {model: hf://Qwen/Qwen3-8B}}", "RLJob a: spec.data: Field required"),
        ((ROOT / "examples/round-8b.yaml").read_text().replace("preset: ", "preset: x"), "is unknown"),
        (None, "No such file"),
    ],
)
def test_what_has_no_estimate_is_said_in_a_sentence(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "round.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SystemExit) as ended:
        shown(str(file))
    assert said in str(ended.value)


@pytest.mark.parametrize(
    ("config", "card", "said"),
    [
        (b'{"model_type": "qwen2",', "H100", "is no JSON: Expecting property name"),
        (b"[" * 100_000, "H100", "is no JSON"),
        (b"\x00\x9c\xff", "H100", "config.json is no text"),
        (b"{}", "H100", "a config.json without model_type"),
        (b"{}", "H1000", "H1000 is no card that is known: A100"),
    ],
)
def test_a_config_or_card_that_is_none_is_said(tmp_path: Path, config: bytes, card: str, said: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(config)
    with pytest.raises(SystemExit) as ended:
        shown(str(ROOT / "examples/rljob.yaml"), str(file), card)
    assert said in str(ended.value)
