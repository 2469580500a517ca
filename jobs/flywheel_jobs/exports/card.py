"""The model card of an exported model: what it is made of, how it scores, under which licence. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from flywheel_api.artifacts import STANDIN_NOTICE, Owner
from flywheel_api.base import HUB
from flywheel_api.results import SuiteVerdict
from flywheel_jobs.exports.facts import Facts

_KNOWN_LICENCE = re.compile(r"[a-z0-9][a-z0-9.\-]*")


def card(facts: Facts, owner: Owner, campaign: str, seed: int) -> str:
    """README.md of the directory, as model hubs read it."""
    return "\n".join(
        [
            "---",
            yaml.safe_dump(_header(facts, owner), sort_keys=False).rstrip(),
            "---",
            "",
            f"# {owner.name}",
            "",
            *_what(facts, owner, campaign, seed),
            "",
            "## Scores",
            "",
            *_scores(facts),
            "",
            "## Training and data",
            "",
            *_trainings(facts),
            "",
            "## Lineage",
            "",
            *_lineage(facts),
            "",
            "## Licence",
            "",
            _licence(facts),
            "",
        ]
    )


def _header(facts: Facts, owner: Owner) -> dict[str, object]:
    """What hubs index."""
    found: dict[str, object] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    licence = facts.licence.lower()
    if licence and _KNOWN_LICENCE.fullmatch(licence):
        found["license"] = licence
    elif licence:
        found |= {"license": "other", "license_name": facts.licence}
    if facts.source.startswith(HUB):
        found["base_model"] = facts.source.removeprefix(HUB).partition("@")[0]
    return found | {"tags": ["flywheel", *(["stand-in"] if facts.standin else [])]}


def _what(facts: Facts, owner: Owner, campaign: str, seed: int) -> Iterator[str]:
    step = f", step {facts.verdict.step}" if facts.verdict.step is not None else ""
    yield (
        f"Trained from `{facts.source}` by round `{owner.namespace}/{owner.name}` of campaign `{campaign}` "
        f"(seed {seed}), and promoted by its gates: checkpoint `{facts.verdict.model}`{step}."
    )
    if facts.standin:
        yield ""
        yield f"**A stand-in played a role: {STANDIN_NOTICE}.**"


def _scores(facts: Facts) -> Iterator[str]:
    """Both models on the same held-out items, with the gate's confidence intervals."""
    yield "| suite | items | base | this model | gain | gate |"
    yield "|---|---|---|---|---|---|"
    for suite in facts.verdict.suites:
        base = _score(suite.base, suite.base_interval)
        new = _score(suite.candidate, suite.candidate_interval)
        gain = _score(suite.gain, suite.gain_interval, signed=True)
        yield f"| {suite.suite} | {suite.items or '–'} | {base} | {new} | {gain} | {suite.gate.value} |"
    notes = [_by_form(suite) for suite in facts.verdict.suites if suite.by_form]
    notes += [f"`{loss.suite}` {loss.stratum} fell against the {loss.against}." for loss in facts.verdict.losses]
    if notes:
        yield ""
        yield from (f"- {note}" for note in notes)


def _score(value: float, interval: list[float], signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{value * 100:{sign}.1f} [{interval[0] * 100:{sign}.1f}, {interval[1] * 100:{sign}.1f}]"


def _by_form(suite: SuiteVerdict) -> str:
    return f"The gain on `{suite.suite}` is one of form: right answers did not become more beyond chance."


def _trainings(facts: Facts) -> Iterator[str]:
    """One line for each training, the oldest first."""
    if not facts.trainings:
        yield "None: the model is the base itself."
    for number, training in enumerate(facts.trainings, 1):
        result = training.result
        steps = f"{result.made} steps, published step {result.step}"
        data = ", ".join(f"{d.rows} {d.name} prompts (`{d.digest}`)" for d in training.data) or "data named by address"
        yield f"{number}. {result.algorithm or 'RL'} by `{training.owner}`: {steps}; {data}."


def _lineage(facts: Facts) -> Iterator[str]:
    """Digests of manifests in the store, from which everything else can be found."""
    yield f"- base: `{facts.base}`"
    yield from (f"- training `{t.owner}`: `{t.digest}`" for t in facts.trainings)
    yield f"- verdict: `{facts.verdict_digest}`"
    if facts.model.code_version:
        yield f"- made by Flywheel {facts.model.code_version}, image `{facts.model.image or 'unknown'}`"


def _licence(facts: Facts) -> str:
    if facts.licence:
        return f"The base is licensed as `{facts.licence}`; a model that is made of it is bound by that licence."
    return "The base's licence is not known to Flywheel: find it out before you pass this model on."
