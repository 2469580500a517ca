"""Limits in the models are those that admission holds (tests/apiserver/test_crds.py asks the server the same)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from flywheel_api import base, bounds
from flywheel_api.bounds import Rule, label_key, quantity
from flywheel_api.pods.template import Resources
from flywheel_api.presets import training_spec
from flywheel_api.results import Track
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.verl.rules import refusals

ROUND = {
    "campaign": "c",
    "base": {"model": "hf://a/b"},
    "endpoints": [{"role": "Teacher", "url": "http://t/v1", "model": "t"}],
    "reasoning": {"seeds": "builtin://numeracy"},
    "evaluation": {"suites": [{"name": "numeracy-heldout"}]},
}
JOB = {"model": "hf://a/b", "data": {"train": ["s3://b/k"]}, "reward": {"type": "Math"}}


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (bounds.Score, ["0", "1", "0.95", "5e-1"], ["95", "-0.1", "1.01", "1e400", "nan", "", "1.", "0.5\n"]),
        (bounds.Gain, ["-1", "0.02", "1"], ["5", "-1.1"]),
        (bounds.Confidence, ["0.5", "0.999"], ["0", "1", "95"]),
        (bounds.PositiveFraction, ["1", "0.001"], ["0", "0.0", "1.1"]),
        (bounds.PartialFraction, ["0", "0.999"], ["1", "-1"]),
        (bounds.Temperature, ["0", "2"], ["-1", "2.1", "inf"]),
        (bounds.PositiveTemperature, ["0.1", "2.0"], ["0", "0e5"]),
        (bounds.LearningRate, ["1e-6", "0.1"], ["0", "-1e-6", "1e400", "1"]),
        (bounds.ClipLow, ["1", "0.0003"], ["0", "-0.2", "20"]),
        (bounds.DualClip, ["1.1", "10"], ["1", "0"]),
        (base.Duration, ["1s", "90m", "1d12h", "1500ms", "0h1s", "007m"], ["0s", "0h0m", "1ms", "999ms", "2 days"]),
        (base.EndpointUrl, ["http://[fd00::1]/v1", "https://m/v1?api-version=2", "http://m/v1?author=x&monkey=1"],
         ["http://LOCALHOST", "http://u:p@m", "http://m?accessKeyId=x", "http://m/v1?jwt=x", "http://m?a=1&auth=x"]),
        (base.ModelRef, ["hf://Qwen/Qwen3-8B", "s3://b/a key"], ["hf://https://h/Q", "hf://a/b ", "s3://b/k\n", "s3://"]),
    ],
)  # fmt: skip
def test_values_within_and_beyond(kind: Any, good: list[str], bad: list[str]) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(kind)
    for text in good:
        assert adapter.validate_python(text) == text
    for text in bad:
        with pytest.raises(ValidationError):
            adapter.validate_python(text)


def test_a_rule_is_one_expression_with_its_sentence() -> None:
    rule = Rule("write x", like=r"^a\.'$", unlike="b", least=0, below=1)
    assert rule.cel() == r"self.matches('^a\\.\'$') && !self.matches('b') && double(self) >= 0.0 && double(self) < 1.0"
    assert not rule.holds("a.'\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("500m", "0.5"),
        ("16Gi", 16 << 30),
        ("1.5k", 1500),
        ("1e3", 1000),
        (".5", "0.5"),
        ("2.", 2),
        ("1E", 10**18),
    ],
)
def test_quantities(text: str, value: int | str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["16GB", "16 Gi", "", "four", "-1", "16gi", "0x10", "1e", "1_000", "１"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="write a Kubernetes quantity"):
        quantity(text)


@pytest.mark.parametrize(
    ("written", "read"),
    [(4, "4"), (0.5, "0.5"), (1.37438953472e11, "137438953472"), ("32", "32"), (8.0, "8"), ("+1", "+1")],
)
def test_quantities_are_read_as_yaml_writes_them(written: object, read: str) -> None:
    assert Resources.model_validate({"limits": {"cpu": written}}).limits == {"cpu": read}


def test_true_is_no_quantity() -> None:
    with pytest.raises(ValidationError):
        Resources.model_validate({"limits": {"cpu": True}})


def test_keys_of_labels() -> None:
    for good in ("gpu", "nvidia.com/gpu.product", "A_b-c.d", "x" * 63):
        assert label_key(good) == good
    for bad in ("gpu type", "", "/a", "UP.com/a", "a/b/c", "x" * 64, "-a", "a\n", "a..b/c", "a.-b/c"):
        with pytest.raises(ValueError, match="is no key of a label"):
            label_key(bad)


MICRO_KEY = "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu"
UPDATE, STEP, MICRO = "an update has", "a step has", "do not divide by algorithm.microBatchSize"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, ""),
        ({"nodes": 2, "algorithm": {"promptsPerStep": 16, "groupSize": 6, "miniBatchPrompts": 4}}, UPDATE),
        ({"nodes": 2, "algorithm": {"promptsPerStep": 5, "groupSize": 6, "microBatchSize": 1}}, STEP),
        ({"algorithm": {"microBatchSize": 3}}, MICRO),
        ({"algorithm": {"microBatchSize": 4}}, ""),
        ({"algorithm": {"type": "PPO", "promptsPerStep": 16}}, UPDATE),
        ({"rolloutTensorParallel": 3}, "rolloutTensorParallel 3 does not divide"),
        ({"gpusPerNode": 0, "nodes": 2}, "takes one node"),
        ({"gpusPerNode": 0, "algorithm": {"promptsPerStep": 1, "groupSize": 3}}, MICRO),
        ({"gpusPerNode": 0, "algorithm": {"promptsPerStep": 1, "groupSize": 3, "microBatchSize": 3}}, ""),
        ({"overrides": {MICRO_KEY: 3}, "algorithm": {"microBatchSize": 4}}, MICRO),
    ],
)  # fmt: skip
def test_sizes_that_verl_divides(fields: dict[str, Any], says: str) -> None:
    """Admission holds them too, overrides apart (test_crds)."""
    found = refusals(RLJobSpec.model_validate(JOB | fields))
    assert bool(found) is bool(says) and says in "; ".join(found)


def test_a_presets_tensor_parallel_is_cut_to_what_divides_the_node() -> None:
    spec = FlywheelRoundSpec.model_validate(ROUND | {"training": {"preset": "agenticqwen-30b-a3b", "gpusPerNode": 6}})
    some = "sha256:" + "0" * 64
    assert training_spec(spec, Track.REASONING, some, some, None).rollout_tensor_parallel == 2
