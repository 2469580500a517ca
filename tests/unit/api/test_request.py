"""What an endpoint's owner may add to its requests, in each role, and how long one may take."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from flywheel_api import content
from flywheel_api.common import Dialect
from flywheel_api.overrides import PROMPTED
from flywheel_api.presets import training_spec
from flywheel_api.request import RESERVED, time_out, unfit
from flywheel_api.results import Track
from flywheel_api.round import Endpoint, FlywheelRoundSpec, Role
from flywheel_api.stages import Stage
from flywheel_jobs.endpoints.asking import Ask, Learnt
from unit.operator.world import ROUND

SPEC = yaml.safe_load(ROUND)["spec"]
ANY = "sha256:" + "0" * 64
QUIET = {"chat_template_kwargs": {"enable_thinking": False}}


def teacher(**said: Any) -> Endpoint:
    return Endpoint.model_validate({"role": "Teacher", "url": "http://t/v1", "model": "m", **said})


def policy(**said: Any) -> dict[str, Any]:
    return {"role": "Policy", "pool": {"gpusPerReplica": 0}, **said}


def a_round(**said: Any) -> FlywheelRoundSpec:
    players = [{"role": "Teacher", "url": "http://t/v1", "model": "m"}, policy(**said)]
    return FlywheelRoundSpec.model_validate(SPEC | {"endpoints": players})


@pytest.mark.parametrize("body", [QUIET, {"top_k": 20, "stop": ["END"], "reasoning": {"effort": "low"}}, {}, None])
def test_a_vendor_s_own_keys_are_taken(body: dict[str, Any] | None) -> None:
    assert list(unfit(teacher(extraBody=body, headers={"X-Title": "flywheel", "OpenAI-Organization": "org-1"}))) == []


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_what_flywheel_writes_itself_is_refused_with_what_to_do(name: str) -> None:
    (said,) = unfit(teacher(extraBody={name: 1}))
    assert f"extraBody.{name} is set by Flywheel: " in said and RESERVED[name] in said


def test_every_key_of_a_request_is_reserved() -> None:
    """A key that a request gets one day would win over the spec's, or lose to it, without a word."""
    said = [{"role": "tool", "content": "x"}]
    ask = Ask("m", tuple(said), 1.0, 1.0, 9, {"title": "t"}, {}, ({"type": "function"},), {"a": "b"})
    for takes_no in (set[str](), {"max_tokens"}):
        assert ask.body(2, 7, Learnt(Dialect.TOOLS, takes_no=takes_no)).keys() <= RESERVED.keys()


@pytest.mark.parametrize("name", ["top_k", "stop", "repetition_penalty", "enable_thinking", "provider"])
def test_a_policy_takes_only_what_training_shares(name: str) -> None:
    (said,) = unfit(Endpoint.model_validate(policy(extraBody={name: 1})))
    assert "and not in training" in said and "chat_template_kwargs alone" in said
    assert list(unfit(Endpoint.model_validate(policy(extraBody=QUIET)))) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"chat_template": "{{ x }}"}, "is no argument of a template"),
        ({"tools": []}, "is no argument of a template"),
        ({"add_generation_prompt": False}, "is no argument of a template"),
        (True, "takes a map"),
    ],
)
def test_arguments_that_would_end_a_training_on_its_gpus_are_refused(arguments: Any, says: str) -> None:
    (said,) = unfit(Endpoint.model_validate(policy(extraBody={"chat_template_kwargs": arguments})))
    assert says in said


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Authorization", "set apiKey"),
        ("proxy-authorization", "set apiKey"),
        ("X-Api-Key", "set apiKey"),
        ("api-key", "set apiKey"),
        ("X-Auth-Token", "set apiKey"),
        ("Cookie", "set apiKey"),
        ("Host", "is set by Flywheel"),
        ("content-type", "is set by Flywheel"),
        ("X Title", "is no name of a header"),
        ("X-Title:", "is no name of a header"),
        ("", "is no name of a header"),
    ],
)
def test_headers_hold_no_keys_and_nothing_of_http_s_own(name: str, says: str) -> None:
    (said,) = unfit(teacher(headers={name: "x"}))
    assert says in said


@pytest.mark.parametrize("value", ["", " x", "x\n", "x\r\nHost: y", "é"])
def test_a_header_s_value_is_one_line(value: str) -> None:
    with pytest.raises(ValidationError):
        teacher(headers={"X-Title": value})


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({}, 4096 / 25),
        ({"sampling": {"maxTokens": 256}}, 90.0),
        ({"sampling": {"maxTokens": 8192}}, 8192 / 25),
        ({"sampling": {"maxTokens": 8192}, "timeout": "90s"}, 90.0),
        ({"sampling": {"maxTokens": 256}, "timeout": "1h"}, 3600.0),
    ],
)
def test_a_request_has_the_time_that_its_tokens_take(said: dict[str, Any], seconds: float) -> None:
    assert time_out(a_round(), Role.TEACHER, teacher(**said)) == seconds


@pytest.mark.parametrize(("mined", "seconds"), [(8192, 8192 / 25), (16, 90.0)])
def test_the_policy_has_the_time_of_an_answer_in_mining(mined: int, seconds: float) -> None:
    """Mining asks for tokens of its own, whatever the endpoint's are; of others nobody asks for more than theirs."""
    spec = FlywheelRoundSpec.model_validate(
        SPEC | {"reasoning": {"seeds": "builtin://numeracy", "mining": {"maxResponseTokens": mined}}}
    )
    few = {"sampling": {"maxTokens": 96}}
    assert time_out(spec, Role.POLICY, Endpoint.model_validate(policy(**few))) == seconds
    assert time_out(spec, Role.TEACHER, teacher(**few)) == 90.0


@pytest.mark.parametrize("track", Track)
def test_training_prompts_as_the_policy_is_asked(track: Track) -> None:
    assert PROMPTED not in training_spec(a_round(), track, ANY, ANY, None).overrides
    assert training_spec(a_round(extraBody=QUIET), track, ANY, ANY, None).overrides[PROMPTED] == {
        "enable_thinking": False
    }


def test_what_is_asked_is_part_of_what_a_result_is_made_of_and_headers_are_not() -> None:
    def key(spec: FlywheelRoundSpec) -> str:
        return content.content_key(content.stage_content(Stage.MINE_REASONING, spec, {}, "sha256:b"))

    assert key(a_round(extraBody=QUIET)) != key(a_round())
    assert key(a_round(extraBody={})) == key(a_round(headers={"X-Title": "a"})) == key(a_round())
