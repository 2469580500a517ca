"""A batch from which nothing is to be learnt moves nothing: neither weights nor the optimiser's moments."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

from flywheel_jobs.trainer import brakes, verl_brakes


class Momentum:
    """Weights with momentum and decay: what AdamW does to them, in two lines."""

    def __init__(self) -> None:
        self.weight, self.moment = 1.0, 0.0

    def step(self, gradient: float) -> None:
        self.moment = 0.9 * self.moment + gradient
        self.weight -= 0.1 * self.moment + 0.01 * self.weight


class Engine:
    """verl's engine, as far as `train_batch` goes."""

    def __init__(self, ranks: int = 1) -> None:
        self.optimizer, self.gradient, self.zeroed, self.ranks = Momentum(), 0.0, 0, ranks

    def get_data_parallel_size(self) -> int:
        return self.ranks

    def get_data_parallel_group(self) -> None:
        return None

    def optimizer_zero_grad(self) -> None:
        self.gradient, self.zeroed = 0.0, self.zeroed + 1

    def optimizer_step(self) -> float:
        self.optimizer.step(self.gradient)
        return abs(self.gradient)

    def train_batch(self, data: dict[str, Any], _loss_function: object) -> dict[str, float]:
        self.optimizer_zero_grad()
        self.gradient = float(data["advantages"].sum()) if "advantages" in data else 1.0
        return {"grad_norm": self.optimizer_step()}


class Braked(Engine):
    train_batch = brakes.braked(Engine.train_batch)  # type: ignore[assignment]


LIVE, DEAD = {"advantages": np.array([1.0, 0.0])}, {"advantages": np.zeros(2)}


def test_momentum_does_not_go_on_over_dead_batches() -> None:
    engine, old = Braked(), Engine()
    for one in (engine, old):
        one.train_batch(LIVE, None)
    after = engine.optimizer.weight
    for _ in range(5):
        assert engine.train_batch(DEAD, None) == {"grad_norm": 0.0}
        old.train_batch(DEAD, None)
    assert (engine.optimizer.weight, engine.optimizer.moment) == (after, 1.0)
    assert old.optimizer.weight < after - 0.3, "without the brake one sample is applied again and again"
    assert engine.train_batch(LIVE, None) == {"grad_norm": 1.0} and engine.optimizer.moment == 1.9
    assert Braked().train_batch({}, None) == {"grad_norm": 1.0}, "a critic has no advantages"


def test_a_batch_is_dead_when_it_is_so_on_every_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ranks:
        def __init__(self) -> None:
            self.others = [False]

        def all_gather_object(self, said: list[Any], own: bool, _group: object) -> None:
            said[:] = [own, *self.others]

    ranks = Ranks()
    monkeypatch.setitem(sys.modules, "torch", type(sys)("torch"))
    monkeypatch.setitem(sys.modules, "torch.distributed", ranks)  # type: ignore[arg-type]
    monkeypatch.setattr(sys.modules["torch"], "distributed", ranks, raising=False)
    engine = Braked(ranks=2)
    engine.train_batch(DEAD, None)
    assert engine.optimizer.moment == 0.0 and engine.optimizer.weight == 1.0
    ranks.others = [True]
    engine.train_batch(DEAD, None)
    assert engine.optimizer.weight < 1.0, "the other rank has something to learn: all step"


def test_a_dead_step_is_left_out_and_counted() -> None:
    seen, live = list[str](), [True]

    def update(_trainer: object, batch: str, metrics: dict[str, Any]) -> str:
        seen.append(batch)
        metrics["actor/grad_norm"] = 0.7
        return batch + " updated"

    step = brakes.skipping(update, lambda: live[0], "skipped")
    metrics: dict[str, Any] = {}
    assert step(None, "first", metrics=metrics) == "first updated"
    assert metrics == {"skipped": 0.0, "actor/grad_norm": 0.7}
    live[0], metrics = False, {}
    assert step(None, "second", metrics=metrics) == "second" and seen == ["first"]
    assert metrics == {"skipped": 1.0, "actor/grad_norm": 0.0}


def test_sampling_anew_ends() -> None:
    class Buffer:
        flat = 0

        def _dapo_filtered_keys(self, _partition: str) -> tuple[set[str], Counter[float]]:
            self.flat += 1
            return {f"u{self.flat}"}, Counter({0.0: 1})

        def sample(self, tries: int) -> int:
            return sum(bool(self._dapo_filtered_keys("train")[0]) for _ in range(tries))

    buffer = brakes.limited(Buffer(), 3)
    assert buffer.sample(9) == 3 and buffer.sample(2) == 2, "the limit is of one step"


def test_engines_are_braked_when_their_module_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    package = tmp_path / "verl" / "workers" / "engine"
    package.mkdir(parents=True)
    for folder in (tmp_path / "verl", tmp_path / "verl" / "workers", package):
        (folder / "__init__.py").write_text("")
    (package / "base.py").write_text(
        "class BaseEngine:\n    def train_batch(self, data, loss):\n        return self.optimizer_step()\n"
    )
    for name in [n for n in sys.modules if n == "verl" or n.startswith("verl.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.reload(verl_brakes)
    try:
        base = importlib.import_module(verl_brakes.ENGINE)
        assert hasattr(base.BaseEngine.train_batch, "__wrapped__")
    finally:
        for name in [n for n in sys.modules if n == "verl" or n.startswith("verl.")]:
            del sys.modules[name]
        sys.meta_path[:] = [f for f in sys.meta_path if type(f).__module__ != verl_brakes.__name__]


def test_a_real_optimiser_of_torch_stands_still() -> None:
    """AdamW with weight decay, through verl's own `train_batch` where verl is there."""
    torch = pytest.importorskip("torch", reason="needs the ML environment")
    base = pytest.importorskip("verl.workers.engine.base", reason="needs the ML environment")

    class Real(base.BaseEngine):  # type: ignore[misc, name-defined]
        train_batch = brakes.braked(getattr(base.BaseEngine.train_batch, "__wrapped__", base.BaseEngine.train_batch))

        def __init__(self) -> None:
            self.layer = torch.nn.Linear(2, 1)
            self.optimizer = torch.optim.AdamW(self.layer.parameters(), lr=0.1, weight_decay=0.1)

        def get_data_parallel_size(self) -> int:
            return 1

        def is_mp_src_rank_with_outputs(self) -> bool:
            return True

        def optimizer_zero_grad(self) -> None:
            self.optimizer.zero_grad()

        def optimizer_step(self) -> float:
            self.optimizer.step()
            return 1.0

        def forward_backward_batch(self, data: Any, _loss: object, forward_only: bool = False) -> dict[str, Any]:
            # a KL term gives a gradient to a dead batch as well
            loss = (self.layer(torch.ones(1, 2)) * data["advantages"].sum()).sum() + 0.1 * self.layer.weight.pow(
                2
            ).sum()
            loss.backward()
            return {"metrics": {}}

    engine, live, dead = Real(), {"advantages": torch.tensor([1.0, -0.5])}, {"advantages": torch.zeros(2)}

    def state() -> list[Any]:
        moments = [v.clone() for s in engine.optimizer.state.values() for v in s.values()]
        return [p.detach().clone() for p in engine.layer.parameters()] + moments

    engine.train_batch(live, None)
    before = state()
    for _ in range(5):
        assert engine.train_batch(dead, None)["metrics"]["grad_norm"] == 0.0
    assert all(torch.equal(a, b) for a, b in zip(before, state(), strict=True))
    engine.train_batch(live, None)
    assert not all(torch.equal(a, b) for a, b in zip(before, state(), strict=True))
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged)
    assert not brakes.informative(engine, {"advantages": nested})
