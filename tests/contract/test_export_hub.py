"""Export to a hub, against one that speaks its protocol: private, in one commit, and once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from contract import stages
from contract.hub import REPO, WritableHub, writable
from contract.test_export import MODEL, Campaign, whole
from flywheel_api.artifacts import FileEntry
from flywheel_api.common import SecretKeyRef
from flywheel_api.results import ExportedResult
from flywheel_api.round import ExportSpec
from flywheel_api.round_export import HubTarget
from flywheel_api.stages import HUB_TOKEN_ENV, Stage
from flywheel_jobs.core.errors import EndpointUnavailable, ValidationFailure
from flywheel_jobs.exports.hub import Repository, may_write
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.stages import prepare
from flywheel_jobs.stages.export import COMMITS
from flywheel_store.traffic import MOVED

# huggingface_hub 2.4 sends a file as its HTTP library likes it no more
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
TOKEN = "hf_canary"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HUB_TOKEN_ENV, TOKEN)


def target(hub: WritableHub, **more: Any) -> HubTarget:
    """Admission refuses an address of this machine."""
    secret = SecretKeyRef(secret_name="hub", key="token")
    return HubTarget.model_construct(repo=REPO, token=secret, endpoint=hub.url, **{"private": True} | more)


def export(campaign: Campaign, hub: WritableHub, **more: Any) -> ExportedResult:
    return campaign.run(to=ExportSpec.model_construct(s3=None, claim=None, hub=target(hub)), **more)


def test_a_promoted_model_is_one_commit_of_a_private_repository() -> None:
    campaign = Campaign()
    with writable(token=TOKEN) as hub:
        before = MOVED.total
        result = export(campaign, hub)
        assert MOVED.total - before >= sum(map(len, MODEL.values())), "bytes on their way are progress"
    assert result.uri == f"hf://{REPO}@{hub.head}", "which names it for ever, also as the base of a round"
    assert hub.commits == [f"{campaign.model} by round r1"] and hub.private
    there = {name: data for name, data in hub.files.items() if name != ".gitattributes"}
    whole(there)
    assert {n: there[n] for n in MODEL} == MODEL and "flywheel.json" in there
    assert not [path for path in hub.asked if TOKEN in path]


def test_it_is_the_same_directory_as_anywhere_else() -> None:
    campaign = Campaign()
    campaign.run()
    with writable() as hub:
        export(campaign, hub)
    assert {n: d for n, d in hub.files.items() if n != ".gitattributes"} == campaign.there()


def test_the_same_again_is_no_commit_and_moves_no_large_file() -> None:
    campaign = Campaign()
    with writable() as hub:
        first = export(campaign, hub)
        hub.asked.clear()
        assert export(campaign, hub, only_for="again", attempt=2) == first
        assert len(hub.commits) == 1 and not [path for path in hub.asked if path.startswith("PUT /large/")]


def test_an_answer_to_the_commit_that_is_lost_costs_nothing() -> None:
    campaign = Campaign()
    with writable(lose=1) as hub:
        with pytest.raises(EndpointUnavailable, match="does not answer"):
            export(campaign, hub)
        assert export(campaign, hub, attempt=2).uri == f"hf://{REPO}@{hub.head}"
        assert len(hub.commits) == 1


def test_an_attempt_that_was_cut_moves_what_is_missing() -> None:
    campaign = Campaign()
    with writable() as hub:
        export(campaign, hub)
        hub.files.clear()  # as it was before the commit: large files lie there, no commit names them
        hub.commits.clear()
        hub.asked.clear()
        export(campaign, hub, attempt=2, only_for="again")
        whole({n: d for n, d in hub.files.items() if n != ".gitattributes"})
        assert not [path for path in hub.asked if path.startswith("PUT /large/")], "they are not sent again"


def test_two_files_of_one_content_are_brought_at_the_same_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = Campaign().store
    sha, size = store.put_blob(b"{}")
    one, other = (FileEntry(path=name, sha256=sha, size=size) for name in ("tokenizer.json", "config.json"))
    fetch = store.fetch_blob

    def meanwhile(digest: str, path: Path) -> None:
        fetch(digest, path)
        monkeypatch.setattr(store, "fetch_blob", fetch)
        repository.bring(store, other.path, other)

    with writable() as hub:
        repository = Repository(target(hub), tmp_path)
        monkeypatch.setattr(store, "fetch_blob", meanwhile)
        repository.bring(store, one.path, one)
        assert repository.names() == {one.path, other.path}


@pytest.mark.parametrize("status", [412, 409])
def test_a_commit_of_somebody_else_is_gone_on_from(status: int) -> None:
    campaign = Campaign()
    with writable(others=[{".gitattributes": b"*.bin filter=lfs"}], overtaken=status) as hub:
        assert export(campaign, hub).uri == f"hf://{REPO}@{hub.head}"
        assert hub.commits == ["by somebody else", f"{campaign.model} by round r1"]
        assert hub.files.pop(".gitattributes") == b"*.bin filter=lfs"
        whole(hub.files)
        sent = [path for path in hub.asked if path.startswith("PUT /large/")]
        assert [hub.asked[path] for path in sent] == [1, 1], "large files lie there and are not sent again"


def test_what_somebody_else_put_there_meanwhile_is_left_alone() -> None:
    with writable(others=[{"other.safetensors": b"theirs"}]) as hub:
        with pytest.raises(ValidationFailure, match="holds other files"):
            export(Campaign(), hub)
        assert hub.commits == ["by somebody else"] and "flywheel.json" not in hub.files


def test_who_was_overtaken_by_its_own_second_pod_has_nothing_to_add() -> None:
    campaign = Campaign()
    with writable() as first:
        export(campaign, first)
    with writable(others=[dict(first.files)], large=first.large) as hub:
        assert export(campaign, hub, only_for="again").uri == f"hf://{REPO}@{hub.head}"
        assert hub.commits == ["by somebody else"]


def test_who_is_overtaken_each_time_tries_again_later() -> None:
    with writable(others=[{}] * 9) as hub:
        with pytest.raises(EndpointUnavailable, match="others commit to hf://acme/small-1 at the same time"):
            export(Campaign(), hub)
        assert hub.commits == ["by somebody else"] * COMMITS


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"model.safetensors": b"old"}, "holds other files (model.safetensors): name an empty directory"),
        ({"flywheel.json": b'{"model": "sha256:0"}'}, "holds another exported model (sha256:0)"),
    ],
)
def test_a_repository_of_something_else_is_left_alone(files: dict[str, bytes], sentence: str) -> None:
    with writable(files=dict(files), exists=True) as hub:
        with pytest.raises(ValidationFailure) as refused:
            export(Campaign(), hub)
        assert sentence in str(refused.value) and hub.files == files and not hub.commits


def test_a_public_repository_is_not_written_to_unless_that_is_said() -> None:
    with writable(exists=True, private=False) as hub:
        with pytest.raises(ValidationFailure, match="is public: make it private there, or write `private: false`"):
            export(Campaign(), hub)
        assert not hub.commits
        campaign = Campaign()
        campaign.run(to=ExportSpec.model_construct(s3=None, claim=None, hub=target(hub, private=False)))
        assert len(hub.commits) == 1


@pytest.mark.parametrize(
    ("hub", "says"),
    [
        ({}, None),
        ({"role": "read"}, f"may only read at .*: give one that may write {REPO}"),
        ({"role": "fineGrained", "scopes": ["repo.content.read"]}, "may only read"),
        ({"role": "fineGrained", "scopes": ["repo.content.read", "repo.write"]}, None),
        ({"users": False}, None),
        ({"token": "another"}, "refuses"),
    ],
)
def test_a_token_that_only_reads_stops_before_anything_is_spent(hub: dict[str, Any], says: str | None) -> None:
    with writable(**hub) as made:
        if says is None:
            may_write(target(made))
            return
        with pytest.raises(ValidationFailure, match=says) as refused:
            may_write(target(made))
        assert TOKEN not in str(refused.value)
        spec = stages.round_spec().model_copy(
            update={"export": ExportSpec.model_construct(s3=None, claim=None, hub=target(made))}
        )
        config = stages.config(Stage.PREPARE, spec, "http://unused", {})
        for look in (prepare.run, prepare.again):
            with pytest.raises(ValidationFailure, match=says):
                asyncio.run(look(StageContext(config, Campaign().store)))
