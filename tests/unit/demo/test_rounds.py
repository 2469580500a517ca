"""What the demo does with rounds that are there, and chains of rounds: the wheel's next turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from demo import cli, rounds, setup
from demo.errors import DemoError
from demo.settings import ROOT, Cluster, Settings, from_environment
from unit.demo.test_demo import PROMOTED, RUNNING, FakeKube, make_round

ONE = Settings()


def _start(found: Any, settings: Settings = ONE, model_uri: str | None = None) -> tuple[FakeKube, str]:
    kube = FakeKube({("flywheelround", "demo-r1"): found})
    wanted = {key: value for key, value in make_round().items() if key != "status"}
    return kube, rounds.start(kube, settings, wanted, model_uri)  # type: ignore[arg-type]


FAILED = {**PROMOTED, "status": {**PROMOTED["status"], "verdict": "Failed"}}


def test_a_round_at_work_is_gone_on_with() -> None:
    kube, said = _start(RUNNING)
    assert "going on" in said and kube.calls == []


def test_a_round_that_is_over_is_replaced_and_that_is_said() -> None:
    kube, said = _start(PROMOTED)
    assert "was over (Promoted): deleted" in said
    assert ("delete", "flywheelround", "demo-r1") in kube.calls
    assert kube.applied[0]["spec"]["reuse"] == "Never", "it is run anew"


def test_a_round_that_failed_takes_over_what_it_had_finished() -> None:
    kube, said = _start(FAILED)
    assert "was over (Failed)" in said and "takes over" in said
    assert "reuse" not in kube.applied[0]["spec"]


def test_a_chain_goes_on_from_what_has_a_verdict_and_repeats_what_failed() -> None:
    kube, said = _start(PROMOTED, Settings(rounds=2))
    assert "the chain goes on from it" in said and kube.calls == []
    kube, said = _start(FAILED, Settings(rounds=2))
    assert "takes over" in said and len(kube.applied) == 1


def test_the_base_model_of_another_store_is_put_in() -> None:
    kube, _ = _start(None, Settings(cluster=Cluster.EXISTING), "s3://mine/p/models/m")
    assert kube.applied[0]["spec"]["base"] == {"model": "s3://mine/p/models/m"}


ON_FIRST = {"round": "demo-r1", "onHeld": "UseItsBase"}


def test_a_turn_starts_from_the_one_before_with_a_seed_of_its_own() -> None:
    first = make_round()
    second, third = rounds.turn(first, 2, "demo-r1"), rounds.turn(first, 3, None)
    assert rounds.turn(first, 1, None) == first
    assert (second["metadata"]["name"], second["spec"]) == ("demo-r2", {"base": ON_FIRST, "seed": 1})
    assert (third["metadata"]["name"], third["spec"]) == ("demo-r3", {"base": first["spec"]["base"], "seed": 2})
    assert rounds.turn({**first, "metadata": {"name": "mine"}}, 2, None)["metadata"]["name"] == "mine-r2"


def test_the_second_turn_is_the_example_s(tmp_path: Path) -> None:
    first, example = (yaml.safe_load((ROOT / "examples" / f).read_text()) for f in ("round.yaml", "round-next.yaml"))
    assert rounds.turn(first, 2, "demo-r1") == example


def test_another_seed_is_another_campaign() -> None:
    made = rounds.turn(rounds.seeded(make_round(), 7), 2, None)
    assert (made["metadata"]["name"], made["spec"]["campaign"], made["spec"]["seed"]) == ("s7-demo-r2", "s7-demo", 8)
    assert rounds.seeded(make_round(), None) == make_round()


def test_a_chain_s_length_and_seed_come_from_the_environment() -> None:
    settings = from_environment({"ROUNDS": "2", "SEED": "0"})
    assert (settings.rounds, settings.seed) == (2, 0)
    assert settings.result("demo-r2").name == "result-demo-r2.json"
    assert settings.report("demo-r2").name == "report-demo-r2.html"
    assert from_environment({}).result("demo-r1") == Settings().result_file
    for wrong in ({"ROUNDS": "0"}, {"ROUNDS": "two"}, {"SEED": "-1"}):
        with pytest.raises(DemoError, match="whole number"):
            from_environment(wrong)


@pytest.mark.parametrize(
    ("verdicts", "code", "bases"),
    [
        (("Promoted", "Held", "Promoted"), 0, [None, "demo-r1", "demo-r2"]),
        (("Held", "Promoted", "Held"), 0, [None, "demo-r1", "demo-r2"]),
        (("Promoted", "Failed"), 1, [None, "demo-r1"]),
    ],
)
def test_a_chain_goes_on_from_what_has_a_verdict(
    verdicts: tuple[str, ...], code: int, bases: list[str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kube, ends = FakeKube(), iter(verdicts)

    def ended(_kube: Any, _namespace: str, name: str) -> dict[str, Any]:
        found = make_round(verdict=next(ends), finishedAt="2026-11-23T10:19:00Z")
        return {**found, "metadata": {**found["metadata"], "name": name}}

    monkeypatch.setattr(setup, "local", lambda _settings, _steps: (kube, {"jobs": "j"}))
    monkeypatch.setattr(setup, "put_domains", lambda *_: [])
    monkeypatch.setattr(rounds, "read", lambda *_: make_round())
    monkeypatch.setattr(cli, "follow", ended)
    settings = Settings(rounds=3, folder=tmp_path, result_file=tmp_path / "result.json")
    assert cli.up(settings) == code
    assert [made["spec"]["base"].get("round") for made in kube.applied] == bases
    written = sorted(path.name for path in tmp_path.glob("result-*.json"))
    assert written == [f"result-demo-r{n}.json" for n in range(1, len(verdicts) + 1)]
