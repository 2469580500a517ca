"""Files as people have them: kinds, columns, ids, wrong rows. Rows are our own, in the shapes of the published sets."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import resource
import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel_api.records.reasoning import Persona, Problem
from flywheel_api.round import SuiteSpec
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.evaluation.suites import own_items
from flywheel_jobs.seeds import personas
from flywheel_jobs.sources import rows
from flywheel_jobs.sources.load import MAX_WRONG, Source, load
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket

ROWS: list[dict[str, Any]] = [
    {"question": f"A shelf has {n} rows of 3 jars.\u2028How many jars, if {n} are \"blue\"?", "answer": str(3 * n)}
    for n in range(4, 24)
]  # fmt: skip


def lines(values: list[dict[str, Any]], end: str = "\n") -> bytes:
    return end.join(json.dumps(v, ensure_ascii=False) for v in values).encode()


def table(values: list[dict[str, Any]], **how: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(values), out, **how)
    return out.getvalue()


def columns(**of: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(of), out)
    return out.getvalue()


def separated(values: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(values[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(values)
    return out.getvalue().encode()


KINDS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "JSON Lines": lines,
    "with CRLF, a blank line and a last newline": lambda v: lines(v, "\r\n").replace(b"\r\n", b"\r\n\r\n", 1) + b"\r\n",
    "with a byte order mark": lambda v: b"\xef\xbb\xbf" + lines(v),
    "UTF-16": lambda v: lines(v).decode().encode("utf-16"),
    "JSON Lines with lists beside": lambda v: lines(
        [{"query": x["question"], "answer": x["answer"], "sources": [{"title": "a"}], "tags": [1]} for x in v]
    ),
    "JSON list": lambda v: json.dumps(v).encode(),
    "JSON list with structs beside": lambda v: json.dumps(
        [{"instruction": x["question"], "output": x["answer"], "meta": {"notes": [{"by": "us"}]}} for x in v]
    ).encode(),
    "pretty JSON": lambda v: json.dumps(v, indent=2).encode(),
    "objects one after the other": lambda v: "\n".join(json.dumps(x, indent=1) for x in v).encode(),
    "list in an object": lambda v: json.dumps({"version": 2, "data": v}).encode(),
    "pretty list in an object": lambda v: json.dumps({"version": 2, "data": v}, indent=1).encode(),
    "a list a column": lambda v: json.dumps({k: [x[k] for x in v] for k in v[0]}).encode(),
    "an object a row, by id": lambda v: json.dumps({f"q{n}": x for n, x in enumerate(v)}).encode(),
    "pandas' own": lambda v: json.dumps({k: {str(n): x[k] for n, x in enumerate(v)} for k in v[0]}).encode(),
    "pandas' split": lambda v: json.dumps({"columns": list(v[0]), "data": [list(x.values()) for x in v]}).encode(),
    "a list some levels down": lambda v: json.dumps({"set": {"name": "x", "train": {"items": v}}}).encode(),
    "CSV": separated,
    "CSV with Excel's line": lambda v: b"sep=;\r\n" + separated(v, ";"),
    "CSV below a title": lambda v: b"# our own\n# 2026\n" + separated(v),
    "CSV with lines of long ago": lambda v: separated(v).replace(b"\r\n", b"\r"),
    "CSV with rows that a spreadsheet left empty": lambda v: separated(v) + b",\r\n,\r\n",
    "rows of the hub's viewer": lambda v: json.dumps(
        {"features": [], "rows": [{"row_idx": n, "row": x, "truncated_cells": []} for n, x in enumerate(v)]}
    ).encode(),
    "CSV with semicolons": lambda v: separated(v, ";"),
    "TSV": lambda v: separated(v, "\t"),
    "Parquet": table,
    "Parquet with texts as bytes": lambda v: table([{k: x[k].encode() for k in x} for x in v]),
    "UTF-16 without a mark": lambda v: lines(v).decode().encode("utf-16-le"),
    "CSV in UTF-16, the other way round": lambda v: separated(v).decode().encode("utf-16-be"),
    "UTF-32": lambda v: lines(v).decode().encode("utf-32"),
    "Parquet with long texts and dictionaries": lambda v: columns(
        question=pa.array([x["question"] for x in v], pa.large_string()),
        answer=pa.array([x["answer"] for x in v]).dictionary_encode(),
    ),
    "Parquet in many row groups": lambda v: table(v, row_group_size=3),
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gz": gzip.compress,
    "gz in two members": lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]),
    "zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


def bring(data: bytes | dict[str, bytes], kind: Any = Problem, address: str = "", **how: Any) -> Source[Any]:
    store = Store(MemoryBucket())
    files = {"own": data} if isinstance(data, bytes) else data
    for name, content in files.items():
        store.put_bytes(name, content)
    return load(store, store.uri(address or next(iter(files))), kind, "spec.reasoning.fields", **how)


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_found_by_its_content(kind: str, packed: str) -> None:
    found = bring(PACKED[packed](KINDS[kind](ROWS)))
    assert [(p.question, p.answer) for p in found.records] == [(r["question"], r["answer"]) for r in ROWS]
    assert (found.rows, found.wrong) == (len(ROWS), 0) and len({p.id for p in found.records}) == len(ROWS)


@pytest.mark.parametrize("size", [7, 64, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_may_end_anywhere(kind: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK", size)
    assert len(bring(KINDS[kind](ROWS)).records) == len(ROWS)


@pytest.mark.parametrize(("data", "says"), [
    (b"PK\x03\x04 and more", "a zip archive: unpack it"), (bz2.compress(b"{}"), "packed with bzip2"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a pointer of Git LFS"), (b"<!DOCTYPE html>", "HTML"),
    (gzip.compress(gzip.compress(b"{}")), "packed twice"), (gzip.compress(lines(ROWS))[:-40], "damaged"),
    (b" \n ", "empty"), (b"PAR1 but no more", "damaged"), (b"\x00\x01\x02\x03\x04", "that is no JSON Lines, JSON, CSV"),
    (b"[{]", "no JSON after row 0"), (b"| question | answer |\n|---|---|\n| 1+1? | 2 |\n", "a table of Markdown"),
    (gzip.compress(b"own.jsonl" + b"\0" * 248 + b"ustar\x0000"), "a tar archive: unpack it"),
    (b'question,answer\n"1+1?,2\n2+2?,4\n', r'a quote \("\) that begins in it is never closed'),
    (b'question,answer\nThe pipe is 5" wide?,5\n"1+1?,2\n2+2?,4\n', "is never closed"),
    (lines([{"prompt": "[{'role': 'user', 'content': '1+1?'}]", "answer": "2"}]), "written as Python prints it"),
    (b'[{"question": "a', "no JSON after row 0"), (b"12, 13\n14, 15", "name those to take in spec.reasoning.fields"),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_what_is_no_file_of_rows_is_named(data: bytes, says: str) -> None:
    with pytest.raises(ValidationFailure, match=says) as caught:
        bring(data)
    assert caught.value.reason in ("InvalidInput", "TooManyWrongRows")


def test_blank_lines_below_a_bar_are_read_once() -> None:
    began = time.process_time()
    with pytest.raises(ValidationFailure, match="holds no records"):
        bring(b"|a|" + b"\n" * 40_000 + b"x")
    assert time.process_time() - began < 1


def test_a_quote_within_a_field_opens_none() -> None:
    found = bring(b'question,answer\nThe pipe is 5" wide?,5\n"1\n+1?",2')
    assert [(p.question, p.answer) for p in found.records] == [('The pipe is 5" wide?', "5"), ("1\n+1?", "2")]


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(ValidationFailure, match="does not exist") as caught:
        bring(lines(ROWS), address="other")
    assert caught.value.reason == "DataNotFound"


def test_all_files_below_a_prefix_are_read_but_for_what_is_about_them() -> None:
    half = {"set/README.md": b"# A set", "set/_SUCCESS": b"", "set/a.jsonl.crc": b"crc\0\1", "set/b/": b"",
            "set/part-1": b"", "set/part-2": gzip.compress(b""), "set/a.jsonl": lines(ROWS[:9]),
            "set/b/part-0": gzip.compress(table(ROWS[9:])), "settings.jsonl": b"?"}  # fmt: skip
    for address in ("set", "set/"):
        assert [p.answer for p in bring(half, address=address).records] == [r["answer"] for r in ROWS]


SHAPES: dict[str, dict[str, Any]] = {
    "GSM8K": {"question": "Mia has 3 bags of 24 beans. How many beans?", "answer": "3*24=<<3*24=72>>72\n#### 72"},
    "MATH": {"problem": "What is $8\\cdot 9$?", "level": "Level 1", "type": "Prealgebra",
             "solution": "First $8\\cdot 9$ is $\\boxed{70}$, no: it is $\\boxed{72}$."},
    "MATH-500": {"problem": "What is 8 times 9?", "solution": "It is $\\boxed{72}$.", "answer": "72",
                 "subject": "Algebra", "level": 1, "unique_id": "test/algebra/1.json"},
    "Omni-MATH": {"domain": ["Mathematics -> Algebra"], "difficulty": 4.5, "problem": "Find $8 \\cdot 9$.",
                  "solution": "We multiply.", "answer": "72", "source": "own"},
    "DAPO-17k": {"data_source": "math", "prompt": [{"role": "user", "content": "Solve it step by step.\n\n8 times 9?"}],
                 "ability": "MATH", "reward_model": {"ground_truth": "72", "style": "rule"},
                 "extra_info": {"index": "9a"}},
    "verl's GSM8K": {"data_source": "gsm8k", "prompt": [{"role": "system", "content": "Be brief."},
                                                        {"role": "user", "content": "8 times 9?"}],
                     "reward_model": {"ground_truth": "72"}, "extra_info": {"answer": "#### 72", "split": "train"}},
    "a chat": {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "8 times 9?"},
                            {"role": "assistant", "content": "It is \\boxed{72}."}]},
    "ShareGPT": {"conversations": [{"from": "human", "value": "8 times 9?"}, {"from": "gpt", "value": "#### 72"}]},
    "a chat in parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "8 times 9?"}]},
                                     {"role": "assistant", "content": [{"type": "text", "text": "72"}]}]},
    "a chat without its answer": {"messages": [{"role": "user", "content": "8 times 9?"}], "answer": 72},
    "JSON in texts": {"prompt": '[{"role": "user", "content": "8 times 9?"}]',
                      "reward_model": '{"ground_truth": "72"}'},
    "NumPy's and pandas' NaN": {"id": float("nan"), "question": "8 times 9?", "context": float("nan"),
                                "answer": float("nan"), "final_answer": 72.0},
    "DAPO-17k, processed": {"prompt": "8 times 9?", "solution": "72"},
    "names with blanks": {" Question ": "8 times 9?", "answer ": "72"},
    "numbers": {"id": 17, "question": "8 times 9?", "answer": 72.0},
    "one answer in a list": {"question": "8 times 9?", "final_answer": ["72"]},
    "passage": {"id": "p", "context": "A crate holds 8 boxes of 9 pens.", "question": "How many pens?", "answer": 72},
}  # fmt: skip


@pytest.mark.parametrize("pack", [lambda v: lines(v), lambda v: table(v)], ids=["JSON Lines", "Parquet"])
@pytest.mark.parametrize("shape", SHAPES)
def test_published_shapes_work_as_they_are(shape: str, pack: Callable[[list[dict[str, Any]]], bytes]) -> None:
    (problem,) = bring(pack([SHAPES[shape]])).records
    assert problem.answer == "72" and problem.id and problem.question
    again = bring(pack([SHAPES[shape]])).records
    assert again == [problem]  # an id that is made of content is the same in every attempt


def test_a_column_that_the_user_names_is_taken_as_it_is() -> None:
    (problem,) = bring(lines([{"problem": "Where?", "solution": "Paris"}]), fields={"answer": "solution"}).records
    assert problem.answer == "Paris"


def test_a_reply_beside_an_answer_of_its_own_is_left_out() -> None:
    chat = [{"role": "user", "content": "8 times 9?"}, {"role": "assistant", "content": "It is \\boxed{70}."}]
    (problem,) = bring(lines([{"messages": chat, "answer": "72"}])).records
    assert (problem.question, problem.answer, problem.context) == ("8 times 9?", "72", [])


def test_what_is_before_the_question_is_context() -> None:
    (chat,) = bring(lines([SHAPES["verl's GSM8K"]])).records
    assert [m["role"] for m in chat.messages()] == ["system", "user"]
    (passage,) = bring(lines([SHAPES["passage"]])).records
    assert passage.messages()[0] == {"role": "user", "content": "A crate holds 8 boxes of 9 pens."}


def test_personas_need_a_text_only() -> None:
    hub = [{"persona": "A retired teacher who repairs clocks."}, {"input persona": "A nurse.", "synthesized text": "x"}]
    found = bring(lines(hub), Persona).records
    assert [p.text for p in found] == [hub[0]["persona"], hub[1]["input persona"]]
    assert all(p.name in personas.NAMES and p.trade and p.thing for p in found)


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"ID": "I-1", "Problem": "1+1?", "Answer": 25}, "1+1?", "25"),  # AIME
        ({"Body": "There are 3 cats.", "Question": "How many?", "Answer": 3.0}, "There are 3 cats.|How many?", "3"),
        ({"instruction": "Add.", "input": "1+1", "answer": "2"}, "Add.\n\n1+1", "2"),
        ({"question": "1+1?", "answer": '["2"]'}, "1+1?", "2"),  # Skywork
        ({"question": "When?", "answer": date(2024, 3, 5)}, "When?", "2024-03-05"),
        ({"question": "When?", "answer": datetime(2024, 3, 5)}, "When?", "2024-03-05"),
    ],
)
def test_no_part_of_a_question_is_left_behind(row: dict[str, Any], question: str, answer: str) -> None:
    (record,) = bring(table([row])).records
    assert "|".join([*(m.content for m in record.context), record.question]) == question and record.answer == answer


def test_choices_beside_the_question_are_no_question_without_them() -> None:
    row = {"question": "Which is prime?", "choices": ["4", "7"], "answer": 1}
    with pytest.raises(ValidationFailure, match="its choices are in choices and not in the question"):
        bring(lines([row]))


def test_an_item_of_a_suite_that_asks_the_same_with_another_answer_is_set_aside() -> None:
    store = Store(MemoryBucket())
    store.put_bytes("exam", lines([*ROWS, {**ROWS[0], "answer": "1"}, {**ROWS[1], "answer": "\\boxed{15}"}]))
    found = own_items(SuiteSpec(name="exam"), store.uri("exam"), store)
    assert [r.answer for r in found.records] == [r["answer"] for r in ROWS] and found.repeated == 1
    assert [q.problem.partition(" ")[2] for q in found.quarantine] == ["asks the same, with another answer"]


def test_a_map_of_columns() -> None:
    own = [{"q": {"text": "8 times 9?"}, "gold": "72", "question": "not this", "key": "k1"}]
    (problem,) = bring(lines(own), fields={"question": "q.text", "answer": "gold", "id": "key"}).records
    assert (problem.id, problem.question, problem.answer) == ("k1", "8 times 9?", "72")
    with pytest.raises(
        ValidationFailure, match=r"column nope, which fields.answer names.*columns are q, gold, question, key"
    ):
        bring(lines(own), fields={"question": "q.text", "answer": "nope"})


def test_the_same_id_on_other_rows_loses_none() -> None:
    two = [{"id": f"p{n % 4}", "question": f"How much is {n} and {n}?", "answer": str(2 * n)} for n in range(8)]
    found = bring({"all/a": lines(two[:4]), "all/b": lines([*two[4:], two[0]])}, address="all")
    assert len(found.records) == 8 == len({p.id for p in found.records})
    assert [p.id for p in found.records[:4]] == ["p0", "p1", "p2", "p3"]
    assert (found.renamed, found.repeated) == (4, 1)


WRONG: dict[str, Any] = {
    "no answer": {"question": "a?"}, "empty answer": {"question": "a?", "answer": " "},
    "null": {"question": "a?", "answer": None}, "several answers": {"question": "a?", "answer": ["1", "2"]},
    "a solution without an end": {"problem": "a?", "solution": "Who knows."}, "no question": {"answer": "5"},
    "empty question": {"question": "  ", "answer": "5"}, "a struct": {"question": "a?", "answer": {"x": 1}},
    "a chat that ends in no answer": {"messages": [{"role": "user", "content": "a?"},
                                                   {"role": "assistant", "content": "It is two, and so on."}]},
    "a chat with a picture": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
                              "answer": "5"},
    "NaN": {"question": "a?", "answer": float("nan")},
    "a model's turn last": {"prompt": [{"role": "assistant", "content": "x"}], "answer": "5"},
    "a lone surrogate": {"question": "a \ud83d?", "answer": "5"}, "a list": [1, 2], "a text": "hello",
    "deep": None, "cut": None, "no UTF-8": None, "a comment": None,
}  # fmt: skip
RAW = {"deep": b'{"question": ' + b"[" * 100_000, "cut": b'{"question": "a?", "ans', "a comment": b"# of 2026",
       "no UTF-8": '{"question": "Größe?", "answer": "5"}'.encode("latin-1")}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_row_is_named_set_aside_and_counted(wrong: str) -> None:
    line = RAW.get(wrong) or json.dumps(WRONG[wrong]).encode()
    found = bring(b"\n".join([lines(ROWS[:7]), line, lines(ROWS[7:])]))
    assert (found.rows, found.wrong, len(found.records)) == (21, 1, 20)
    (row,) = found.quarantine
    assert row.where.endswith("own row 8") and row.problem and row.source == found.ref
    with pytest.raises(
        ValidationFailure, match=r"2 of 22 rows of s3://flywheel/flywheel/own are wrong, more than 5%"
    ) as many:
        bring(b"\n".join([lines(ROWS), line, line]))
    assert many.value.reason == "TooManyWrongRows" and "own row 21: " in str(many.value)


def test_a_column_that_nobody_reads_does_no_harm() -> None:
    huge = [{**r, "seen": int("9" * 4200), "note": None} for r in ROWS]
    text = lines(huge).replace(b"9" * 4200, b"9" * 5000)
    assert len(bring(text).records) == len(ROWS)


def test_a_source_that_is_mostly_wrong_is_not_read_to_its_end() -> None:
    with pytest.raises(ValidationFailure, match=r"200 of 200 rows.*Its columns are title, url"):
        bring(lines([{"title": f"{n}", "url": "x"} for n in range(5000)]))


def test_a_draw_depends_on_content_only_and_is_whole() -> None:
    def draw(data: list[dict[str, Any]], limit: int, sample: str | None = "1") -> list[str]:
        found = bring(lines(data), limit=limit, sample=sample)
        assert len(found.records) + found.left_out + found.repeated == found.rows
        return [p.question for p in found.records]

    some = draw(ROWS, 6)
    assert len(some) == 6 and sorted(draw(ROWS[::-1], 6)) == sorted(some) and sorted(draw(ROWS * 3, 6)) == sorted(some)
    assert draw(ROWS, 6, "2") != some and draw(ROWS, 99) == [r["question"] for r in ROWS]
    assert [p.question for p in bring(lines(ROWS), limit=3).records] == [r["question"] for r in ROWS[:3]]


def test_the_same_person_under_two_ids_is_on_one_side() -> None:
    crowd = [{"id": f"p{n}", "persona": f"Someone who counts {n % 10}  hats."} for n in range(200)]
    found = bring(lines(crowd), Persona)
    assert len(found.records) == 10 and found.repeated == 190
    twice = [p.model_copy(update={"id": f"{p.id}-{k}", "text": p.text.replace("  ", " " * (k + 1))})
             for p in personas.builtin() for k in (0, 1)]  # fmt: skip
    training, held = personas.split(twice, 0.2)
    assert {p.content for p in training}.isdisjoint(p.content for p in held) and held


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def write(kind: str, count: int) -> Path:
        path = tmp_path / kind
        made = [{"question": f"How much is {n} plus {'x' * 400}?", "answer": str(n)} for n in range(count)]
        path.write_bytes(KINDS[kind](made))
        return path

    for kind in ("JSON Lines", "JSON list", "CSV", "Parquet in many row groups"):
        path = write(kind, 20_000)  # 9 MB and more
        sum(1 for _ in rows.read(path, kind))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert sum(1 for _ in rows.read(path, kind)) == 20_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10  # KiB


def test_the_share_of_wrong_rows_is_the_documented_one() -> None:
    assert MAX_WRONG == 0.05
