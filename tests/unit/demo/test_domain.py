"""DOMAIN=dir: the demo's round on a domain of the user's own."""

from __future__ import annotations

import base64
import io
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo import domain, manifests, setup
from demo.errors import DemoError
from demo.settings import ROOT, Settings, from_environment
from flywheel_api.presets import training_spec
from flywheel_api.results import Track
from flywheel_api.round import FlywheelRoundSpec
from unit.demo.test_demo import OF_J, FakeKube
from unit.domains.small import SHED, write


def folder_of(where: Path, text: str = "format: flywheel.dev/domain/v1\ndomain: tool_shed  # ours\n") -> Path:
    (where / "domain.yaml").write_text(text)
    (where / "tools.py").write_text("")
    (where / "__pycache__").mkdir()
    (where / "__pycache__" / "tools.pyc").write_bytes(b"x")
    return where


def test_a_domain_of_ones_own_is_packed_and_put_into_the_store(tmp_path: Path) -> None:
    builtin, own = from_environment({"DOMAIN": f"booking {folder_of(tmp_path)}"}).domains
    assert (own.name, own.key) == ("tool-shed", "domains/tool-shed.tgz")
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(own.packed))) as archive:
        assert archive.getnames() == ["domain.yaml", "tools.py"]
    kube = FakeKube(
        {("job", "put-domain"): [None, OF_J, OF_J]},
        {"logs": "DOMAIN AT s3://flywheel/flywheel/domains/tool-shed.tgz\n"},
    )
    named = setup.put_domains(kube, Settings(domains=(builtin, own)), {"jobs": "j"})  # type: ignore[arg-type]
    assert named == [
        {"name": "booking"},
        {"name": "tool-shed", "source": "s3://flywheel/flywheel/domains/tool-shed.tgz"},
    ]
    job = kube.applied[0]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "DOMAIN", "value": own.packed} in job["env"] and own.key in job["command"]
    compile(manifests.PUT_DOMAIN, "put-domain", "exec")
    assert len(kube.applied) == 1, "what is built in is put nowhere"
    assert setup.put_domains(kube, Settings(), {"jobs": "j"}) == []  # type: ignore[arg-type]


OWN = {"name": "shed", "source": "s3://b/k.tgz"}


@pytest.mark.parametrize("named", [[OWN], [{"name": "booking"}, OWN]])
def test_the_round_is_about_those_domains(named: list[dict[str, str]]) -> None:
    round_: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "round.yaml").read_text(encoding="utf-8"))
    domain.named_in(round_, named, 866)
    spec = FlywheelRoundSpec.model_validate(round_["spec"])
    assert spec.agentic and [d.model_dump(exclude_none=True) for d in spec.agentic.domains] == named
    assert [(s.name, s.items) for s in spec.evaluation.suites] == [
        ("numeracy-heldout", 120),
        *((f"{d['name']}-heldout", 16) for d in named),
    ]
    (policy,) = [e for e in spec.endpoints if e.pool]
    engine = policy.pool.engine if policy.pool else None
    trained = training_spec(spec, Track.AGENTIC, "sha256:" + "0" * 64, "sha256:" + "1" * 64, None)
    assert engine and engine.max_model_len is not None and engine.max_model_len >= 866 + domain.EPISODE
    assert policy.concurrency == engine.max_num_seqs, "who waits for a place has no time limit running"
    assert trained.algorithm.max_prompt_tokens >= 866 and trained.algorithm.max_response_tokens == 512
    assert trained.agent_loop and trained.agent_loop.max_turns == 15


def test_a_round_without_the_track_is_said() -> None:
    with pytest.raises(DemoError, match="agentic track"):
        domain.named_in({"spec": {"reasoning": {}}}, [OWN], 866)


def test_windows_that_are_wide_enough_stay(tmp_path: Path) -> None:
    pool = {"role": "Policy", "pool": {"engine": {"maxModelLen": 40960}}}
    spec = {"agentic": {}, "evaluation": {"suites": []}, "endpoints": [pool], "training": {}}
    domain.named_in({"spec": spec}, [OWN], 866)
    assert pool["pool"] == {"engine": {"maxModelLen": 40960}}


def test_what_the_tester_finds_is_said_before_anything_is_started(tmp_path: Path) -> None:
    folder = write(tmp_path / "shed", SHED.replace("rows: 8", "rows: eight"))
    with pytest.raises(DemoError, match=r"(?s)findings; nothing was started.*domain\.yaml:\d+: .*domain DO="):
        domain.longest_prompt(domain.given(f"'{folder}'"))


def test_a_folder_that_is_no_domain_is_said_before_anything_is_started(tmp_path: Path) -> None:
    for one in (str(tmp_path), "bookings"):
        with pytest.raises(DemoError, match=r"has no domain\.yaml.*airline, booking"):
            domain.given(one)
    with pytest.raises(DemoError, match="does not say its name"):
        domain.given(str(folder_of(tmp_path, "title: shed\n")))
    (tmp_path / "rows.bin").write_bytes(bytes(range(256)) * 1000 + random.Random(0).randbytes(200_000))
    (tmp_path / "domain.yaml").write_text("domain: shed\n")
    with pytest.raises(DemoError, match="put it into the store yourself"):
        domain.given(str(tmp_path))
