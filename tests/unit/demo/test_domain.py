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
    own = from_environment({"DOMAIN": str(folder_of(tmp_path))}).domain
    assert own is not None and (own.name, own.key) == ("tool-shed", "domains/tool-shed.tgz")
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(own.packed))) as archive:
        assert archive.getnames() == ["domain.yaml", "tools.py"]
    kube = FakeKube(
        {("job", "put-domain"): [None, OF_J, OF_J]},
        {"logs": "DOMAIN AT s3://flywheel/flywheel/domains/tool-shed.tgz\n"},
    )
    uri = setup.put_domain(kube, Settings(domain=own), {"jobs": "j"})  # type: ignore[arg-type]
    assert uri == "s3://flywheel/flywheel/domains/tool-shed.tgz"
    job = kube.applied[0]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "DOMAIN", "value": own.packed} in job["env"] and own.key in job["command"]
    compile(manifests.PUT_DOMAIN, "put-domain", "exec")
    assert setup.put_domain(kube, Settings(), {"jobs": "j"}) is None  # type: ignore[arg-type]


def test_the_round_is_about_that_domain() -> None:
    round_: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "round.yaml").read_text(encoding="utf-8"))
    domain.named_in(round_, "shed", "s3://b/k.tgz", 866)
    spec = FlywheelRoundSpec.model_validate(round_["spec"])
    assert spec.agentic and [(d.name, d.source) for d in spec.agentic.domains] == [("shed", "s3://b/k.tgz")]
    assert [s.name for s in spec.evaluation.suites] == ["numeracy-heldout", "shed-heldout"]
    (engine,) = [e.pool.engine for e in spec.endpoints if e.pool]
    trained = training_spec(spec, Track.AGENTIC, "sha256:" + "0" * 64, "sha256:" + "1" * 64, None).algorithm
    assert engine.max_model_len is not None and engine.max_model_len >= 866 + domain.EPISODE
    assert trained.max_prompt_tokens >= 866 and trained.max_response_tokens == domain.RESPONSE
    with pytest.raises(DemoError, match="agentic track"):
        domain.named_in({"spec": {"reasoning": {}}}, "shed", "s3://b/k.tgz", 866)


def test_windows_that_are_wide_enough_stay(tmp_path: Path) -> None:
    pool = {"role": "Policy", "pool": {"engine": {"maxModelLen": 40960}}}
    spec = {"agentic": {}, "evaluation": {"suites": []}, "endpoints": [pool], "training": {}}
    domain.named_in({"spec": spec}, "shed", "s3://b/k.tgz", 866)
    assert pool["pool"] == {"engine": {"maxModelLen": 40960}}


def test_what_the_tester_finds_is_said_before_anything_is_started(tmp_path: Path) -> None:
    folder = write(tmp_path / "shed", SHED.replace("rows: 8", "rows: eight"))
    own = domain.given(str(folder))
    assert own is not None
    with pytest.raises(DemoError, match=r"(?s)findings; nothing was started.*domain\.yaml:\d+: .*domain DO="):
        domain.longest_prompt(own)


def test_a_folder_that_is_no_domain_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"has no domain\.yaml"):
        domain.given(str(tmp_path))
    with pytest.raises(DemoError, match="does not say its name"):
        domain.given(str(folder_of(tmp_path, "title: shed\n")))
    (tmp_path / "rows.bin").write_bytes(bytes(range(256)) * 1000 + random.Random(0).randbytes(200_000))
    (tmp_path / "domain.yaml").write_text("domain: shed\n")
    with pytest.raises(DemoError, match="put it into the store yourself"):
        domain.given(str(tmp_path))
