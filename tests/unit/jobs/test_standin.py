"""The stand-in server: labelled, deterministic, strict, and with faults only where asked for."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from flywheel_api.artifacts import STANDIN_NOTICE
from flywheel_jobs.__main__ import COMMANDS, main
from flywheel_jobs.reasoning import roles
from flywheel_standin.faults import Faults
from flywheel_standin.server import build

SOLVE = {"model": "solver", "messages": roles.solver_messages("8+9"), "n": 3, "seed": 4}


async def call(url: str, body: Any = None, method: str = "POST") -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body) as response:
        return response.status, await response.json(content_type=None)


async def test_every_model_is_labelled() -> None:
    async with TestServer(build({"FLYWHEEL_STANDIN_MODELS": "teacher,solver"})) as server:
        status, listing = await call(str(server.make_url("/v1/models")), method="GET")
        assert status == 200 and [m["id"] for m in listing["data"]] == ["teacher", "solver"]
        for entry in listing["data"]:
            assert entry["standin"] is True and entry["owned_by"] == "flywheel-standin"
            assert entry["notice"] == STANDIN_NOTICE
        status, health = await call(str(server.make_url("/healthz")), method="GET")
        assert status == 200 and health["status"] == "ok"


async def test_equal_requests_get_equal_answers_and_each_choice_its_own() -> None:
    async with TestServer(build({})) as server:
        url = str(server.make_url("/v1/chat/completions"))
        _, one = await call(url, SOLVE)
        _, two = await call(url, SOLVE)
        assert one["choices"] == two["choices"] and len(one["choices"]) == 3
        assert all("<answer>17</answer>" in c["message"]["content"] for c in one["choices"])
        assert one["standin"] is True and one["usage"]["completion_tokens"] > 0
        guesses = {**SOLVE, "messages": roles.solver_messages("8+ some number"), "n": 8}
        _, ill = await call(url, guesses)
        assert len({c["message"]["content"] for c in ill["choices"]}) > 1


@pytest.mark.parametrize("body", [{}, [], {"model": "x"}, {"model": "x", "messages": 3}, {**SOLVE, "n": 0},
                                  {**SOLVE, "n": 100000}])  # fmt: skip
async def test_bad_requests_are_refused_with_a_message(body: Any) -> None:
    async with TestServer(build({})) as server:
        status, answer = await call(str(server.make_url("/v1/chat/completions")), body)
        assert status == 400 and "bad request" in answer["error"]["message"]


async def test_an_unknown_request_is_answered_as_unknown() -> None:
    async with TestServer(build({})) as server:
        url = str(server.make_url("/v1/chat/completions"))
        _, answer = await call(url, {"model": "x", "messages": [{"role": "user", "content": "Write a poem"}]})
        assert "no script" in answer["choices"][0]["message"]["content"]


async def test_faults_need_the_admin_switch() -> None:
    async with (
        TestServer(build({})) as server,
        aiohttp.ClientSession() as session,
        session.put(server.make_url("/admin/faults"), json={}) as response,
    ):
        assert response.status == 404
    async with TestServer(build({"FLYWHEEL_STANDIN_ADMIN": "1"})) as server:
        url = str(server.make_url("/admin/faults"))
        assert (await call(url, {"status": 503, "first": 1}, "PUT"))[0] == 200
        chat = str(server.make_url("/v1/chat/completions"))
        assert [(await call(chat, SOLVE))[0] for _ in range(2)] == [503, 200]
        status, answer = await call(url, {"stauts": 503}, "PUT")
        assert status == 400 and "stauts" in answer["error"]


def test_faults_refuse_unknown_keys() -> None:
    with pytest.raises(ValueError, match="use"):
        Faults({"typo": 1})


def test_commands_are_listed_and_unknown_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in COMMANDS)
    with pytest.raises(SystemExit) as ended:
        main(["no-such"])
    assert ended.value.code == 2
