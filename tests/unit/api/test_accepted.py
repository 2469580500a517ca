"""What is accepted can be carried out: what admission cannot see, and a GPU would have found out."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from flywheel_api.pods.template import Resources
from flywheel_api.pool import PoolTemplate, unfit_arguments
from flywheel_api.request import unfit
from flywheel_api.round import Endpoint, Role


def pool(args: dict[str, Any], gpus: int = 8) -> PoolTemplate:
    return PoolTemplate.model_validate({"gpusPerReplica": gpus, "engine": {"args": args}})


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"model": "x"}, "set the pool's model"),
        ({"served-model-name": "x"}, "set servedModelName"),
        ({"max-model-len": 9}, "set engine.maxModelLen"),
        ({"port": 1}, "Ray Serve listens"),
        ({"api-key": "k"}, "pools ask for no key"),
        ({"--enable-chunked-prefill": True}, "no name of an argument"),
        ({"": 1}, "no name of an argument"),
        ({"gpu-memory-utilization": 95}, "above 0 and at most 1"),
        ({"gpu_memory_utilization": 0}, "above 0 and at most 1"),
        ({"gpu-memory-utilization": "0.9"}, "above 0 and at most 1"),
        ({"gpu-memory-utilization": True}, "above 0 and at most 1"),
        ({"tensor-parallel-size": 3}, "does not divide gpusPerReplica 8"),
        ({"tensor_parallel_size": 0}, "does not divide gpusPerReplica 8"),
        ({"tensor_parallel_size": "8"}, "does not divide gpusPerReplica 8"),
    ],
)
def test_arguments_that_no_engine_takes_are_refused(args: dict[str, Any], words: str) -> None:
    assert words in "; ".join(unfit_arguments(pool(args)))


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"gpu-memory-utilization": 0.9},
        {"gpu_memory_utilization": 1},
        {"tensor-parallel-size": 4},
        {"max-num-seqs": 9},
    ],
)
def test_arguments_that_one_takes_are_taken(args: dict[str, Any]) -> None:
    assert not list(unfit_arguments(pool(args)))
    assert not list(unfit_arguments(pool({"tensor-parallel-size": 2}, gpus=0)))


def test_what_is_said_twice_is_refused() -> None:
    twice = {"engine": {"maxNumSeqs": 8, "args": {"max-num-seqs": 9}}}
    assert "leave one out" in next(unfit_arguments(PoolTemplate.model_validate(twice)))


def test_a_round_is_told_of_its_pools_arguments_too() -> None:
    body = {"role": Role.POLICY, "pool": {"engine": {"args": {"port": 1}}}}
    assert next(unfit(Endpoint.model_validate(body))).startswith("pool.engine.args.port")


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"limits": {"gpu": "8"}}, "limits.gpu is no resource of a container"),
        ({"requests": {"ram": "8Gi"}}, "requests.ram is no resource of a container"),
        ({"limits": {"memory": "512m"}}, "limits.memory 512m is a part of a byte: write 512Mi"),
        ({"requests": {"ephemeral-storage": "10m"}}, "is a part of a byte"),
    ],
)
def test_sizes_that_no_container_can_have_are_refused(sizes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Resources.model_validate(sizes)


def test_sizes_that_one_can_have_are_taken() -> None:
    given = {"cpu": "500m", "memory": "16M", "ephemeral-storage": "1Gi", "hugepages-2Mi": "64Mi", "rdma/hca": "1"}
    assert Resources.model_validate({"limits": given}).limits == given
    written = {"memory": "107374182400m"}  # by API servers, of 0.1Gi
    assert Resources.model_validate({"requests": written}).requests == written


def test_a_window_holds_a_prompt_beside_the_answer() -> None:
    def policy(tokens: int) -> Endpoint:
        body = {"role": Role.POLICY, "pool": {"engine": {"maxModelLen": 512}}, "sampling": {"maxTokens": tokens}}
        return Endpoint.model_validate(body)

    assert list(unfit(policy(511))) == []
    assert "leaves no room for a prompt in pool.engine.maxModelLen 512" in next(unfit(policy(512)))
