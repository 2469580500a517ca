"""The report: what it must show, what it must never do with the models' text, and how its drawings are placed."""

from __future__ import annotations

import dataclasses
import html.parser
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flywheel_api import artifacts
from flywheel_api.artifacts import ServedBy
from flywheel_api.causes import Cause
from flywheel_api.common import AttemptStatus, ReusedFrom
from flywheel_api.records.evaluation import EvaluationRow
from flywheel_api.results import CurvePoint, MeasuredResult, Track, TrainingResult, Verdict, VerifiedResult
from flywheel_jobs.core.errors import StoreUnavailable
from flywheel_jobs.report import view
from flywheel_jobs.report.graph import NODE_HEIGHT, NODE_WIDTH, lay_out, reduced_edges
from flywheel_jobs.report.load import load
from flywheel_jobs.report.measuring import measuring
from flywheel_jobs.report.model import Node, ReportModel, Score, Suite
from flywheel_jobs.report.render import render
from flywheel_jobs.report.samples import choose, turns_of
from flywheel_jobs.report.scale import nice_step, step_ticks, time_ticks, trailing_mean, value_axis
from flywheel_jobs.report.vitals import VITALS, vitals
from unit.report import synthetic
from unit.report.synthetic import row

NOW = datetime(2026, 11, 23, 10, 19, 14, tzinfo=UTC)
VOID = {"meta", "br", "line", "rect", "polyline", "path", "img", "link"}


class Page(html.parser.HTMLParser):
    """Tags, text and attributes; remembers tags that were closed in the wrong order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def model() -> ReportModel:
    config, store = synthetic.make_round()
    return load(config, store, NOW)


@pytest.fixture(scope="module")
def page(model: ReportModel) -> Page:
    return Page(render(model))


def test_the_page_says_what_came_of_the_round(page: Page) -> None:
    assert "The candidate passed its gates and is the campaign's new model" in page.text
    assert "31.0 → 74.0" in page.text and "(66.0 – 82.0)" in page.text
    assert "better: the interval of the gain lies above zero" in page.text
    assert "no difference shown: the interval of the gain holds zero" in page.text
    assert "31 votes differ" in page.text
    assert "early-write 12 → 12 , no-write 3 → 3" in page.text  # the spaces are this test's, between elements
    form = "right as training reads it 31.0 → 74.0 , in the form that is asked for 70.0 → 70.0 , right in any form 50.0"
    assert f"{form} → 50.0" in page.text
    assert "warm-up on 60 solutions of the solver, 3 steps, loss 3.12 → 0.97" in page.text
    assert "The gain is one of form." in page.text
    assert "Round numeracy-heldout airline-heldout demo-r1 50.0 * – demo-r2 62.5 25.0" in page.text
    assert "outcome refund 30.0 → 0.0 against the champion (beyond chance)" in page.text
    assert "Train reasoning" in page.text
    assert "A scripted server played Teacher in this round" in page.text
    assert "scores are not comparable to the paper" in page.text


def test_every_number_of_a_step_has_its_plot_and_its_own_axis(model: ReportModel, page: Page) -> None:
    (reasoning, _) = model.trainings
    assert [v.series.name for v in reasoning.vitals] == [name for name, _, _ in VITALS]
    drawn = {t["aria-label"].partition(":")[0] for n, t in page.tags if n == "div" and t.get("aria-label")}
    assert {f"Train reasoning, {name}" for name, _, _ in VITALS} <= drawn
    rate = next(v for v in reasoning.vitals if v.series.name == "learning rate")
    high = view.plot([rate.series], share=rate.share)
    assert high is not None and float(high.y_ticks[-1].label) < 1e-3, "on an axis up to 1 it would lie on the ground"


def test_what_a_curve_does_not_say_has_no_plot() -> None:
    assert [v.series.name for v in vitals([CurvePoint(step=1, reward=0.5, entropy=1.0)])] == ["entropy, nats per token"]


def test_the_page_is_well_formed_and_loads_nothing(page: Page) -> None:
    assert page.wrong == [] and page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed"}
    for tag, attrs in page.tags:
        assert not any(name.startswith("on") or name in ("src", "srcset", "action") for name in attrs), (tag, attrs)
        assert (attrs.get("href") or "#").startswith("#")
    assert "default-src 'none'" in str(page.tags)


def test_text_of_models_is_shown_not_run(model: ReportModel, page: Page) -> None:
    assert synthetic.HOSTILE in page.text
    assert "<script" not in render(model)


def test_every_section_can_be_reached_by_keyboard(page: Page) -> None:
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    targets = {str(attrs["href"])[1:] for tag, attrs in page.tags if tag == "a"}
    assert targets <= ids and len(targets) == 9
    scrolling = [attrs for _, attrs in page.tags if "scroll" in str(attrs.get("class", "")).split()]
    assert scrolling and all(a.get("tabindex") == "0" and a.get("aria-label") for a in scrolling)


def test_no_password_of_an_endpoint_is_shown(model: ReportModel) -> None:
    assert "hunter2" not in render(model)
    assert "http://standin.flywheel-demo.svc:8000/v1" in render(model)


def test_the_same_model_gives_the_same_bytes(model: ReportModel) -> None:
    assert render(model) == render(model)


def test_an_empty_round_still_has_a_report() -> None:
    empty = ReportModel(round="r", namespace="n", uid="u", campaign="c")
    page = Page(render(empty))
    assert page.wrong == []
    for text in (
        "has not been decided",
        "No suite was evaluated",
        "No training has finished",
        "No manifest could be read",
    ):
        assert text in page.text


def test_what_cannot_be_read_is_named_and_the_rest_is_shown() -> None:
    config, store = synthetic.make_round()
    base = next(s.manifest for s in config.timeline if s.name == "EvaluateBase")
    store.delete(artifacts.manifest_digest_key(str(base)))
    candidate = next(s.manifest for s in config.timeline if s.name == "EvaluateCandidate")
    sample = store.get_manifest(str(candidate)).file("samples.jsonl")
    assert sample is not None
    store.put_bytes(artifacts.blob_key(sample.sha256), b"{broken")
    found = load(config, store, NOW)
    assert [m.split(":")[0] for m in found.missing] == ["EvaluateBase", "EvaluateCandidate"]
    assert "Not in this report" in Page(render(found)).text
    assert found.suites[0].candidate is not None and found.suites[0].base is None


def test_a_manifest_of_another_kind_is_a_missing_part() -> None:
    config, store = synthetic.make_round()
    gate = store.get_manifest(config.inputs["Gate"])
    odd = store.put_manifest(gate.model_copy(update={"result": VerifiedResult()}))
    found = load(config.model_copy(update={"inputs": {"Gate": odd}}), store, NOW)
    assert found.missing == ("Gate: its manifest holds a Verified result",) and found.verdict is None
    assert "Not decided" in Page(render(found)).text


def test_what_another_round_paid_for_costs_nothing_here() -> None:
    config, store = synthetic.make_round()
    stages = [s for s in config.timeline if s.name == "VerifyReasoning"]
    manifest = store.get_manifest(str(stages[0].manifest))
    other = manifest.model_copy(update={"owner": manifest.owner.model_copy(update={"uid": "other", "name": "first"})})
    reused = {"manifest": store.put_manifest(other), "reused_from": ReusedFrom(kind="FlywheelRound", name="first")}
    timeline = [s.model_copy(update=reused) if s in stages else s for s in config.timeline]
    found = load(config.model_copy(update={"timeline": timeline}), store, NOW)
    mine, all_of_it = ({r.usage.role: r.usage.calls for r in m.roles} for m in (found, load(config, store, NOW)))
    assert mine["Teacher"] == all_of_it["Teacher"] - 90
    assert "made by first" in Page(render(found)).text


def test_a_change_of_who_answered_in_the_middle_of_a_stage_is_shown() -> None:
    """Of a stage alone: base and candidate are two models of one role, and a look that says nothing is no change."""
    config, store = synthetic.make_round()
    stages = [s for s in config.timeline if s.name in ("VerifyReasoning", "EvaluateBase")]
    timeline = {s.name: s for s in config.timeline}
    for stage in stages:
        manifest = store.get_manifest(str(stage.manifest))
        rows = [
            ServedBy(role="Teacher", model="m", fingerprint=f"fp_{n}", root=root, answers=10 - n)
            for n, root in enumerate(["/one", None, "/two", "/two", "/two"])
        ]
        row = ServedBy(role="Policy", model="policy", weights=stage.name, answers=1)
        told = manifest.model_copy(update={"served_by": [*rows, row] if stage is stages[0] else [row]})
        timeline[stage.name] = stage.model_copy(update={"manifest": store.put_manifest(told)})
    found = load(config.model_copy(update={"timeline": list(timeline.values())}), store, NOW)
    changes = {r.usage.role: r.changes for r in found.roles}
    assert changes["Policy"] == () and changes["Teacher"] == (
        f"{stages[0].name}: 2 places of weights: /two (21), /one (10)",
        f"{stages[0].name}: 5 fingerprints: fp_0 (10), fp_1 (9), fp_2 (8), fp_3 (7), and 1 more",
    )
    assert "2 places of weights: /two (21), /one (10)" in Page(render(found)).text


def test_a_store_that_is_away_is_no_missing_part() -> None:
    config, store = synthetic.make_round()

    def away(digest: str) -> None:
        raise StoreUnavailable("no answer for 60 s; look at the store")

    store.get_manifest = away
    with pytest.raises(StoreUnavailable):
        load(config, store, NOW)


def test_lineage_joins_datasets_to_the_stage_that_made_them(model: ReportModel) -> None:
    by_label = {n.label: n for n in model.lineage}
    assert dict(by_label["TrainReasoning"].inputs)["train-0"] == by_label["Package"].digest
    assert [n.label for n in model.lineage if n.external] == ["base model"]


def test_edges_that_a_longer_path_implies_are_not_drawn() -> None:
    nodes = [Node("a", "a", "x"), Node("b", "b", "x", (("a", "a"),)), Node("c", "c", "x", (("a", "a"), ("b", "b")))]
    assert reduced_edges(nodes) == [("a", "b"), ("b", "c")]


def test_boxes_of_the_graph_never_overlap_and_stay_inside(model: ReportModel) -> None:
    graph = lay_out(model.lineage)
    boxes = [(p.x, p.y) for p in graph.nodes]
    assert len(boxes) == len(model.lineage)
    for i, (x, y) in enumerate(boxes):
        assert x >= 0 and x + NODE_WIDTH <= graph.width and y + NODE_HEIGHT <= graph.height
        for other_x, other_y in boxes[i + 1 :]:
            assert abs(x - other_x) >= NODE_WIDTH or abs(y - other_y) >= NODE_HEIGHT


def test_no_edge_runs_through_a_box(model: ReportModel) -> None:
    graph = lay_out(model.lineage)
    long = [p for p in graph.paths if "C" not in p]
    assert len(graph.paths) == len(reduced_edges(model.lineage)) and long
    for path in long:
        x, y = map(float, re.match(r"M([\d.]+) ([\d.]+)", path).groups())
        for command, text in re.findall(r"([VH])([\d.]+)", path):
            to_x, to_y = (float(text), y) if command == "H" else (x, float(text))
            for box in graph.nodes:
                beside = max(x, to_x) <= box.x or min(x, to_x) >= box.x + NODE_WIDTH
                assert beside or max(y, to_y) <= box.y or min(y, to_y) >= box.y + NODE_HEIGHT, (path, box)
            x, y = to_x, to_y


def test_a_cycle_in_damaged_lineage_does_not_hang() -> None:
    graph = lay_out([Node("a", "a", "x", (("b", "b"),)), Node("b", "b", "x", (("a", "a"),))])
    assert len(graph.nodes) == 2


def test_samples_show_gains_losses_and_failures_without_choosing_the_luckiest() -> None:
    base = [row("s", f"i{i}", float(i == 5)) for i in range(8)]
    candidate = [row("s", f"i{i}", float(i == 2)) for i in range(8)]
    candidate += [row("s", "i3", float(r == 4), r) for r in range(1, 5)]
    items = choose(base, candidate, {"s": Track.REASONING})
    assert [(i.suite, i.title) for i in items] == [("s", "i2"), ("s", "i3"), ("s", "i5"), ("s", "i0")]
    lucky = next(i for i in items if i.title == "i3")
    assert lucky.samples[1].score == 0.0


def test_tool_calls_written_as_text_are_shown_as_calls() -> None:
    written = 'Let me see. <tool_call>{"name": "get_order", "arguments": {"id": 7}}</tool_call>'
    (turn,) = turns_of([{"role": "assistant", "content": written}])
    assert (turn.text, turn.calls[0].name, turn.calls[0].arguments) == ("Let me see.", "get_order", '{"id": 7}')
    broken = "<tool_call>{not json}</tool_call>"
    (turn,) = turns_of([{"role": "assistant", "content": broken}])
    assert turn.text == broken and turn.calls == ()


def test_what_both_were_asked_is_shown_once() -> None:
    def record(answer: str) -> EvaluationRow:
        asked = [
            {"role": "user", "content": "2+4"},
            {"role": "assistant", "content": "6"},
            {"role": "user", "content": "3+4"},
        ]
        return row("s", "i", 0.0, messages=[*asked, {"role": "assistant", "content": answer}])

    (item,) = choose([record("6")], [record("7")], {"s": Track.REASONING})
    assert [t.text for t in item.prompt] == ["2+4", "6", "3+4"]
    assert [[t.text for t in s.turns] for s in item.samples] == [["6"], ["7"]]
    (same,) = choose([record("7")], [record("7")], {"s": Track.REASONING})
    assert [[t.text for t in s.turns] for s in same.samples] == [["7"], ["7"]]


def test_long_text_is_cut_and_says_so() -> None:
    (turn,) = turns_of([{"role": "user", "content": "x" * 7000}])
    assert turn.text.endswith("(1000 more characters)")


def test_bars_lie_on_the_axis_and_the_running_stage_reaches_its_end(model: ReportModel) -> None:
    bars, ticks, span = view.timeline(model)
    assert span == (NOW - model.started).total_seconds()
    assert all(0 <= b.left <= 100 and b.left + b.width <= 101 for b in bars)
    assert bars[-1].stage.name == "Report" and bars[-1].left + bars[-1].width >= 100
    assert ticks[0].label == "0" and ticks[1].label == "5 min"


def test_scales() -> None:
    assert nice_step(1.0, 4) == 0.25 and nice_step(0.9, 4) == 0.25 and nice_step(70, 6) == 20
    scale, ticks = value_axis([0.31, 0.87])
    assert ticks == [0.0, 0.25, 0.5, 0.75, 1.0] and scale.percent(0.5) == 50.0
    assert value_axis([-0.5, 0.5])[0].low <= -0.5
    assert value_axis([])[1][0] == 0.0
    assert step_ticks(1, 12) == [1, 4, 6, 8, 10, 12]
    assert step_ticks(3, 3) == [3]
    assert time_ticks(1200) == [0, 300, 600, 900, 1200]
    assert trailing_mean([1, 2, 3, 4], 3) == [1, 1.5, 2, 3]


def test_numbers_for_people() -> None:
    assert view.duration(59.6) == "1 min 00 s" and view.duration(3725) == "1 h 02 min" and view.duration(None) == "–"
    assert view.number(592600) == "592\u202f600" and view.percent(-0.021, signed=True) == "−2.1"
    assert view.words("SynthesizeReasoning") == "Synthesize reasoning" and view.words("base model") == "base model"
    assert view.size(269_000_000) == "269 MB"


def test_a_held_round_says_why(model: ReportModel) -> None:
    held = dataclasses.replace(
        model, verdict=Verdict.HELD, reasons=("airline-heldout: gain -0.010 is below 0",), standin=False
    )
    page = Page(render(held))
    assert "did not pass its gates; the campaign keeps its model: airline-heldout: gain -0.010 is below 0." in page.text
    assert "Stand-in." not in page.text


def test_worse_is_called_worse() -> None:
    suite = Suite("s", Track.AGENTIC, 1, 1, None, None, Score(-0.2, -0.3, -0.1), None)
    assert view.score_verdict(suite).startswith("worse")


def test_no_template_names_an_address() -> None:
    templates = Path(view.__file__).parent / "templates"
    for path in templates.iterdir():
        assert not re.search(r"https?://", path.read_text()), path


def test_measured_problems_are_shown_by_band_with_the_cost_of_measuring_beside_training() -> None:
    config, store = synthetic.make_round()
    found = load(config, store, NOW)
    assert found.measured is not None and found.measured.bands == (("hard", 40), ("frontier", 31), ("solved", 9))
    assert [name for name, _ in found.measured.families] == ["add", "sub", "mul"]
    here = found.measured.costs[0]
    assert (here.what, here.samples, here.tokens) == ("measuring variants", 560, 21_000)
    steps = [CurvePoint(step=n, trajectories=32, prompt_tokens=20.0, response_tokens=5.5) for n in (1, 2)]
    beside = measuring(MeasuredResult(bands={"hard": 1}), TrainingResult(step=2, curve=steps))
    assert beside is not None and (beside.costs[1].samples, beside.costs[1].tokens) == (64, 1632)
    text = Page(render(found)).text
    assert "Difficulty of the problems" in text and "trained on: sub" in text and "measuring variants" in text
    assert "Difficulty of the problems" not in Page(render(dataclasses.replace(found, measured=None))).text


def test_measured_difficulty_is_shown_by_depth_and_kind_beside_the_published_tiers() -> None:
    config, store = synthetic.make_round()
    found = load(config, store, NOW)
    assert found.difficulty is not None and found.difficulty.tasks == 35
    policy, solver, published = found.difficulty.by_depth
    assert [(x, round(y, 3)) for x, y in policy.points] == [(1.0, 0.75), (2.0, 0.483), (3.0, 0.15)]
    assert solver.points[0] == (1.0, 0.975) and [y for _, y in published.points] == [0.93, 0.76, 0.6, 0.41, 0.25]
    assert [(k.kind, k.tasks, k.policy) for k in found.difficulty.kinds] == [("normal", 15, 41 / 60), ("trap", 20, 0.3)]
    text = Page(render(found)).text
    assert "Difficulty of the tasks" in text and "published tiers" in text and "Pass rate by depth" in text
    unmeasured = dataclasses.replace(found, difficulty=None)
    assert "Difficulty of the tasks" not in Page(render(unmeasured)).text


def test_a_round_that_failed_has_its_page_too() -> None:
    """Whatever was made up to then is shown, with why it ended and which attempts failed."""
    config, store = synthetic.make_round()
    done = [s for s in config.timeline if s.name in ("Prepare", "EvaluateBase", "MineReasoning")]
    lost = AttemptStatus(
        stage="SynthesizeReasoning", attempt=2, cause=Cause.APP, reason="KeyError", message="<b>no key</b>"
    )
    why = "SynthesizeReasoning: App/KeyError: no key (retries.limit 3 is used up)"
    failed = config.model_copy(update={"timeline": done, "inputs": {}, "attempts": [lost], "failed": why})
    page = Page(render(load(failed, store, NOW)))
    assert f"The round ended before a verdict: {why}." in page.text
    assert "Synthesize reasoning 2 App/KeyError <b>no key</b>" in page.text and not page.wrong
    assert "numeracy-heldout" in page.text and "Failed" in page.text
    empty = config.model_copy(update={"timeline": [], "inputs": {}, "failed": "BudgetExhausted"})
    assert "BudgetExhausted" in Page(render(load(empty, store, NOW))).text


def test_the_page_of_a_failure_shows_the_end_of_its_log_and_says_where_the_rest_is() -> None:
    """After the pods are gone: from what their processes kept in the store."""
    config, store = synthetic.make_round()
    for number, text in enumerate(["it began\n", "".join(f"line {n}\n" for n in range(99)) + "<i>KeyError</i>\n"]):
        store.put_bytes(artifacts.log_key("u", "Prepare", 1, 0, number), text.encode())
    prefix = artifacts.log_prefix("u", "Prepare", 1)
    lost = AttemptStatus(stage="Prepare", attempt=1, cause=Cause.APP, reason="KeyError", log=prefix)
    silent = lost.model_copy(update={"attempt": 2, "log": artifacts.log_prefix("u", "Prepare", 2)})
    failed = config.model_copy(update={"attempts": [lost, silent], "inputs": {}, "failed": "Prepare: App/KeyError"})
    page = Page(render(load(failed, store, NOW)))
    assert "line 98 <i>KeyError</i>" in page.text and "line 60" in page.text and "line 58" not in page.text
    assert page.text.count(f"Log: {store.uri(prefix)}") == 1, "an attempt that printed nothing has no log"


def test_a_training_without_a_result_is_drawn_from_its_steps() -> None:
    config, store = synthetic.make_round()
    key = "sha256:" + "7" * 64
    for step in (1, 2, 10):
        record = artifacts.StepRecord(owner=config.owner, attempt=1, point=CurvePoint(step=step, reward=step / 20))
        store.put_json(artifacts.step_key(config.owner.namespace, key, step), record)
    store.put_bytes(artifacts.step_key(config.owner.namespace, key, 3), b"torn")
    timeline = [
        s.model_copy(update={"manifest": None, "content_key": key if s.name == "TrainReasoning" else None})
        for s in config.timeline
        if s.name not in ("TrainAgentic", "Gate")
    ]
    model = load(config.model_copy(update={"timeline": timeline, "inputs": {}}), store, NOW)
    assert [t.reward.points for t in model.trainings] == [((1.0, 0.05), (2.0, 0.1), (10.0, 0.5))]
    assert "It ended, or goes on, without a model" in Page(render(model)).text
