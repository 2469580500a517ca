"""Data as people have it, from the bucket to what the policy is sampled with: rows of our own in published shapes."""

from __future__ import annotations

import gzip
import io
import json
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract import stages
from contract.models import serving
from contract.rounds import Round, dropped
from contract.servers import BUCKET, S3Server
from flywheel_api.results import MinedResult, PreparedResult
from flywheel_api.stages import Stage
from flywheel_standin.protocol import Answer, ChatRequest
from flywheel_store.bucket import objects_at, version_at

GSM8K = [
    {
        "question": f"Lena packs {n} boxes with {n + 3} lamps each and then breaks 2 lamps. How many are whole?",
        "answer": f"She packs {n}*{n + 3}=<<{n}*{n + 3}={n * (n + 3)}>>{n * (n + 3)}.\n#### {n * (n + 3) - 2:,}",
    }
    for n in range(21, 45)
]
MATH = [
    {"problem": f"Let $f(x) = x^2 - {n}$. What is $f({n})$?", "solution": f"$\\boxed{{{n * n - n}}}$", "level": "2"}
    for n in range(5, 17)
]  # fmt: skip
TAUGHT = {"question": MATH[0]["problem"], "answer": MATH[0]["solution"]}  # an item of the suite
PEOPLE = [{"persona": f"A beekeeper from valley {n} who sells honey to schools."} for n in range(40)]


def knows(request: ChatRequest) -> Answer | None:
    """A policy that is right about even boxes, in the words of a person, and wrong about odd ones."""
    if request.model != "policy":
        return None
    boxes = int(request.last_user.split()[2])
    return Answer(f"So the answer is {boxes * (boxes + 3) - 2 - boxes % 2}.")


def put(s3: S3Server, key: str, data: bytes) -> None:
    s3.client().put_object(BUCKET, key, io.BytesIO(data), len(data))


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def packed(rows: list[dict[str, Any]]) -> bytes:
    return gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode())


def test_published_shapes_go_from_the_bucket_to_the_policy(minio: S3Server) -> None:
    prefix = f"data-{uuid.uuid4().hex[:8]}"
    put(minio, f"{prefix}/gsm8k/README.md", b"# A set")
    put(minio, f"{prefix}/gsm8k/train-0.parquet", parquet([*GSM8K[:12], {"question": "And?", "answer": ""}]))
    put(
        minio,
        f"{prefix}/gsm8k/train-1.parquet",
        parquet([*GSM8K[12:], GSM8K[0], TAUGHT]),
    )
    put(minio, f"{prefix}/exam", packed(MATH))
    put(minio, f"{prefix}/people.csv", ("persona\n" + "\n".join(p["persona"] for p in PEOPLE)).encode())
    where = f"s3://{BUCKET}/{prefix}"
    spec = stages.round_spec(
        reasoning={"seeds": f"{where}/gsm8k", "mining": {"samples": 4}},
        agentic={"personas": f"{where}/people.csv", "domains": [{"name": "booking"}]},
        evaluation={"suites": [{"name": "exam", "source": f"{where}/exam", "gate": {"minScore": "0.1"}}]},
    )
    with serving(extra=(knows,)) as endpoint:
        round_ = Round(minio.store(f"{prefix}-store"), endpoint, spec)
        prepared = round_.run(Stage.PREPARE)
        assert dropped(prepared) == {"contaminated": 1, "duplicate": 1, "wrong-row": 1}
        assert prepared.counts.in_ == 27 and isinstance(prepared.result, PreparedResult)
        assert prepared.result.set_aside == {f"{where}/gsm8k": 1}
        (wrong,) = round_.records(Stage.PREPARE, "quarantine.jsonl")
        assert wrong["where"].endswith("gsm8k/train-0.parquet row 13") and "no answer" in wrong["problem"]
        suite = round_.records(Stage.PREPARE, "suites/exam.jsonl")
        assert [i["answer"] for i in suite] == [str(n * n - n) for n in range(5, 17)]
        mined = round_.run(Stage.MINE_REASONING).result
        assert isinstance(mined, MinedResult) and mined.bands == {"hard": 12, "frontier": 0, "solved": 12}


@pytest.mark.parametrize("ends", ["", "/"])
def test_a_prefix_has_a_version_that_changes_with_any_object(s3: S3Server, ends: str) -> None:
    root = f"prefix-{uuid.uuid4().hex[:8]}"
    bucket, address = s3.bucket("elsewhere"), f"s3://{BUCKET}/{root}/set{ends}"
    assert objects_at(bucket, address) == [] and version_at(bucket, address) is None
    put(s3, f"{root}/set/b", b"2")
    put(s3, f"{root}/set/a/1", b"1")
    put(s3, f"{root}/settings", b"no")
    assert objects_at(bucket, address) == [f"s3://{BUCKET}/{root}/set/a/1", f"s3://{BUCKET}/{root}/set/b"]
    before = version_at(bucket, address)
    assert before and before == version_at(bucket, address)
    put(s3, f"{root}/set/b", b"3")
    assert version_at(bucket, address) not in (None, before)
    one = f"s3://{BUCKET}/{root}/settings"
    assert objects_at(bucket, one) == [one] and version_at(bucket, one) == bucket.version_of(one)
