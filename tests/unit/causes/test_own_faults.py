"""A program's own fault is no server's: retried without end, it would fail the same way and cost its GPUs each time."""

from __future__ import annotations

import time

import pytest

from flywheel_api.causes import FREE_RETRIES
from flywheel_api.signs import read

OF_THE_PROGRAM = (
    "ValueError: response: 500 tokens expected",
    "ValueError: status code 503 is not handled by this parser",
    "AssertionError: status: 429 rows",
    "RuntimeError: response=500",
    "RuntimeError: Sandbox: execution of user code failed after 3 attempts",
    "RuntimeError: Request could not be parsed after 3 retries",
    "ValueError: model returned invalid url after 5 attempts",
    "RuntimeError: endpoint returned no answer tag",
    "ValueError: no response for api call in sample",
    "ValueError: server name not available in the case",
    "RuntimeError: api answer refused by the judge",
    "AssertionError: rank 3 unreachable state",
    "RuntimeError: peer refused",
    "requests.exceptions.InvalidURL: bad url, id 503",
    "requests.exceptions.HTTPError: 404 Client Error: Not Found for url: http://judge/503",
    "openai.BadRequestError: Error code: 400 - {'error': {'message': 'max_tokens is 500'}}",
    "openai.NotFoundError: Error code: 404 - model 502 unavailable",
    "openai.AuthenticationError: Error code: 401 - request id 500",
    "litellm.BadRequestError: got 500 tokens",
    "kubernetes.client.exceptions.ApiException: (422) 500 pods",
    "redis.exceptions.ResponseError: value 503 out of range",
    "psycopg2.errors.UniqueViolation: duplicate key value 502",
    "psycopg2.errors.QueryCanceled: canceling statement due to statement timeout",
    "sqlalchemy.exc.ProgrammingError: row 500 bad",
    "pymongo.errors.DuplicateKeyError: E11000 dup 503",
    "docker.errors.ImageNotFound: 404 image unavailable",
    "docker.errors.ContainerError: exit 1: user code timed out",
)
OF_A_SERVER = (
    "RuntimeError: Request failed with status code 503",
    "RuntimeError: the judge's server is not responding",
    "Exception: Request error for 5 times, returning None. Please check the API server.",
    "kubernetes.client.exceptions.ApiException: (500) Reason: Internal Server Error",
    "google.api_core.exceptions.Unknown: 503 the service is away",
    "redis.exceptions.TimeoutError: Timeout reading from socket",
    "RuntimeError: rank 3 timed out",
)


def cause(line: str, trained: bool = True) -> str:
    lines = ["Traceback (most recent call last):", '  File "/app/reward.py", line 3, in compute_score', line]
    return read(1, lines, trained).cause


@pytest.mark.parametrize("line", OF_THE_PROGRAM)
@pytest.mark.parametrize("trained", [False, True])
def test_a_programs_own_fault_is_not_retried_for_free(line: str, trained: bool) -> None:
    assert cause(line, trained) not in FREE_RETRIES


@pytest.mark.parametrize("line", OF_A_SERVER)
def test_a_server_that_is_away_is(line: str) -> None:
    assert cause(line) in FREE_RETRIES


@pytest.mark.parametrize("unit", ["compiled with ", "version ", "requires "])
def test_a_long_line_is_read_in_no_time(unit: str) -> None:
    started = time.process_time()
    cause("RuntimeError: " + unit * (50_000 // len(unit)), trained=False)
    assert time.process_time() - started < 2
