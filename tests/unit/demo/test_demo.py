"""The demo's own logic: what it checks, what it shows of a round, what it does to set one up."""

from __future__ import annotations

import ast
import base64
import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from demo import diagnose, jobs, manifests, needs, progress, setup, summary
from demo.errors import DemoError
from demo.memory import memory_kib
from demo.settings import BASE_MODEL, IMAGES, ROOT, Cluster, Settings, from_environment, image_variable
from demo.watch import Screen, follow
from flywheel_standin import faults
from flywheel_standin.protocol import MODEL_NAME
from flywheel_standin.server import build

NOW = datetime(2026, 11, 23, 10, 10, 0, tzinfo=UTC)


def make_round(**status: Any) -> dict[str, Any]:
    return {
        "kind": "FlywheelRound",
        "metadata": {"name": "demo-r1", "namespace": "flywheel-demo", "uid": "u1"},
        "spec": {"base": {"model": "s3://flywheel/flywheel/models/m"}},
        "status": status,
    }


RUNNING = make_round(
    startedAt="2026-11-23T10:00:00Z",
    stages=[
        {
            "name": "Preflight",
            "state": "Succeeded",
            "startedAt": "2026-11-23T10:00:00Z",
            "finishedAt": "2026-11-23T10:00:01Z",
        },
        {
            "name": "MineReasoning",
            "state": "Running",
            "startedAt": "2026-11-23T10:08:00Z",
            "progress": "24 of 48 problems",
        },
        {
            "name": "TrainAgentic",
            "state": "Waiting",
            "attempt": 2,
            "startedAt": "2026-11-23T10:09:00Z",
            "progress": "no node",
        },
        {"name": "Gate", "state": "Pending"},
    ],
)
PROMOTED = make_round(
    startedAt="2026-11-23T10:00:00Z",
    finishedAt="2026-11-23T10:19:00Z",
    verdict="Promoted",
    standin=True,
    model={"uri": "s3://flywheel/m", "digest": "sha256:aa", "step": 6},
    report="s3://flywheel/flywheel/reports/x/report.html",
    stages=[
        {
            "name": "VerifyReasoning",
            "state": "Succeeded",
            "attempt": 1,
            "startedAt": "2026-11-23T10:00:00Z",
            "finishedAt": "2026-11-23T10:00:24Z",
            "counts": {"in": "190", "out": "140", "dropped": "50"},
            "dropped": [{"reason": "votes differ", "count": "50"}],
        }
    ],
    scores=[
        {
            "suite": "numeracy-heldout",
            "base": "0.31",
            "baseInterval": ["0.23", "0.39"],
            "candidate": "0.74",
            "gate": "Passed",
        }
    ],
)


class FakeKube:
    """Stands for Kubectl: objects in a dictionary, outputs by a word of the call; remembers calls."""

    line = "kubectl --kubeconfig /kubeconfig"
    kubeconfig = Path("/kubeconfig")

    def __init__(
        self, objects: dict[tuple[str, str], Any] | None = None, outputs: dict[str, str] | None = None
    ) -> None:
        self.objects, self.outputs, self.calls = objects or {}, outputs or {}, []
        self.applied: list[Any] = []

    def try_run(self, *args: str, stdin: str | None = None, timeout_s: float = 120) -> tuple[int, str, str]:
        return 0, self.run(*args), ""

    def run(self, *args: str, stdin: str | None = None, timeout_s: float = 120) -> str:
        self.calls.append(args)
        return next((out for key, out in self.outputs.items() if key in args), "")

    def get(self, kind: str, name: str, namespace: str | None = None) -> Any:
        found = self.objects.get((kind, name))
        return found.pop(0) if isinstance(found, list) else found

    def list(self, kind: str, namespace: str, selector: str = "") -> Any:
        return self.objects.get((kind, "*"), [])

    def apply(self, objects: Any) -> str:
        self.calls.append(("apply", *[o["kind"] for o in objects]))
        self.applied += objects
        return ""

    def delete(self, kind: str, name: str, namespace: str | None = None) -> None:
        self.calls.append(("delete", kind, name))


def test_everything_that_is_missing_is_said_at_once() -> None:
    def small() -> None:
        needs.check_memory(kib=8 * 2**20)

    with pytest.raises(DemoError) as error:
        needs.check((lambda: needs.check_cores(1), small, lambda: needs.check_python((3, 13))))
    text = str(error.value)
    assert "2 CPU cores are needed and 1 can be used" in text
    assert "16 GB of memory are needed and the machine has 8.6 GB" in text
    assert "Python 3.11 is needed and this is 3.13" in text and "apt-get install" in text


def test_a_machine_sold_with_16_gb_is_enough() -> None:
    needs.check_memory(kib=int(15.2 * 2**20))
    assert memory_kib("MemAvailable", "MemTotal: 2 kB\nMemAvailable:  7 kB\n") == 7


def test_a_full_disk_is_told_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 20e9})())
    with pytest.raises(DemoError, match="40 GB of disk are needed"):
        needs.check_disk(tmp_path / "absent")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "images.json").write_text("{}")
    (tmp_path / "bin").mkdir()
    needs.check_disk(tmp_path)  # what is built needs no room again


def test_settings_of_an_existing_cluster_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="is no file: set KUBECONFIG"):
        from_environment({"CLUSTER": "existing", "KUBECONFIG": str(tmp_path / "none")})
    config = tmp_path / "config"
    config.write_text("")
    with pytest.raises(DemoError, match="FLYWHEEL_IMAGE_JOBS, FLYWHEEL_IMAGE_RAY_CPU"):
        from_environment({"CLUSTER": "existing", "KUBECONFIG": str(config), "FLYWHEEL_IMAGE_OPERATOR": "r/o:1"})
    with pytest.raises(DemoError, match="CLUSTER=kid is not known"):
        from_environment({"CLUSTER": "kid"})


def test_a_running_round_shows_each_stage_at_work() -> None:
    lines = progress.block(RUNNING, NOW)
    assert lines[0].startswith("round demo-r1: ") and "1 of 4 stages, 10:00" in lines[0]
    assert "MineReasoning" in lines[1] and "2:00" in lines[1] and "50 %" in lines[1] and "24 of 48 problems" in lines[1]
    assert "TrainAgentic (attempt 2)" in lines[2] and "waiting: no node" in lines[2]
    assert 5 < progress.overall(RUNNING["status"], NOW) < 25


def test_a_line_does_not_repeat_its_stage() -> None:
    stage = {"name": "ServeBase", "state": "Running", "progress": "ServeBase: the model is loading"}
    assert progress.stage_line(stage, NOW).endswith("  the model is loading")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("step 3/12 reward 0.5", 0.25),
        ("9 of 8", 1.0),
        ("of 4", None),
        ("0/0", None),
        ("EvaluateBase 66/76 items waiting for Policy: no answer; retrying, 2 of 120 s", 66 / 76),
        ("SeedAgentic waiting for Policy: no answer; retrying, 2 of 120 s", None),
    ],
)
def test_fractions_in_progress_texts(text: str, part: float | None) -> None:
    assert progress.fraction(text) == part


def test_what_needs_a_person_is_shown() -> None:
    blocked = make_round(
        conditions=[
            {"type": "Preflight", "status": "False", "reason": "SecretNotFound", "message": "make Secret flywheel-s3"},
            {"type": "Stalled", "status": "False", "reason": "NotStalled", "message": ""},
        ]
    )
    assert progress.block(blocked, NOW)[-1] == "  ! SecretNotFound: make Secret flywheel-s3"
    blocked["status"]["progress"] = "make Secret flywheel-s3"
    assert progress.block(blocked, NOW)[1:] == ["  make Secret flywheel-s3"]  # nothing is said twice


def test_only_an_ended_round_has_a_verdict() -> None:
    assert progress.verdict(RUNNING) is None and progress.verdict(PROMOTED) == "Promoted"
    assert progress.verdict(make_round(verdict="Promoted")) is None
    failed = make_round(conditions=[{"type": "Ready", "status": "False", "reason": "Failed"}])
    assert progress.verdict(failed) == "Failed"


def test_changes_are_one_line_a_stage() -> None:
    later = json.loads(json.dumps(RUNNING))
    later["status"]["stages"][1] |= {
        "state": "Succeeded",
        "finishedAt": "2026-11-23T10:09:30Z",
        "counts": {"in": "48", "out": "30"},
    }
    later["status"]["stages"][3]["state"] = "Running"
    assert progress.changes(RUNNING, later) == ["MineReasoning succeeded after 1:30, 48 in, 30 out", "Gate started"]
    assert progress.changes(later, later) == []


def test_off_a_terminal_only_news_are_printed() -> None:
    out = io.StringIO()
    screen = Screen(out, live=False)
    for text in ("round x: 1 %, 0:01 mining", "round x: 1 %, 0:03 mining", "round x: 2 %, 0:05 training"):
        screen.show([text])
    assert out.getvalue().splitlines() == ["round x: 1 %, 0:01 mining", "round x: 2 %, 0:05 training"]


def test_on_a_terminal_the_block_is_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    screen = Screen(out, live=True)
    screen.show(["a", "b"])
    screen.show(["c"])
    assert out.getvalue() == "a\nb\n\x1b[2A\x1b[Jc\n"


def test_follow_ends_with_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    out = io.StringIO()
    kube = FakeKube({("flywheelround", "demo-r1"): [RUNNING, RUNNING, PROMOTED]})
    assert follow(kube, "flywheel-demo", "demo-r1", Screen(out, live=False)) is PROMOTED
    assert "VerifyReasoning succeeded after 0:24, 190 in, 140 out" in out.getvalue()


def test_a_deleted_round_ends_the_watch() -> None:
    with pytest.raises(DemoError, match="is gone"):
        follow(FakeKube(), "flywheel-demo", "demo-r1", Screen(io.StringIO(), live=False))


def test_result_holds_what_the_readme_promises() -> None:
    found = summary.result(PROMOTED, {"kubeconfig": "/k", "report": "/r", "setup_seconds": {}})
    assert found["verdict"] == "Promoted" and found["round"] == "flywheel-demo/demo-r1"
    assert found["model"] == {"digest": "sha256:aa", "address": "s3://flywheel/m"}
    assert found["candidate"] is None
    assert found["stages"] == {"VerifyReasoning": 24.0} and found["round_seconds"] == 1140.0
    assert found["scores"][0]["baseInterval"] == ["0.23", "0.39"] and found["kubeconfig"] == "/k"


def test_tables_for_people() -> None:
    stages = summary.stage_table(PROMOTED["status"])
    assert stages[1].split() == ["VerifyReasoning", "Succeeded", "0:24", "1", "190", "140", "50", "votes", "differ"]
    scores = summary.score_table(PROMOTED["status"])
    assert "0.310 [0.230, 0.390]" in scores[1] and "0.740" in scores[1] and scores[1].endswith("Passed")
    assert summary.score_table({}) == ["no suite was scored"]


def test_a_failed_job_shows_its_log_and_what_to_do() -> None:
    failed = {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    kube = FakeKube({("job", "j"): failed}, {"logs": "ValueError: no bucket"})
    with pytest.raises(DemoError, match=r"Job j failed\.\n(.|\n)*no bucket(.|\n)*try again"):
        jobs.finish(kube, "j", "n", 1, "try again")


def test_a_job_of_an_older_image_is_replaced() -> None:
    old = manifests.job("j", "n", "image:1", ["-c", "1"])
    kube = FakeKube({("job", "j"): old})
    assert jobs.start(kube, manifests.job("j", "n", "image:2", ["-c", "1"]))
    assert ("delete", "job", "j") in kube.calls and ("apply", "Job") in kube.calls


def test_a_finished_job_is_not_run_again() -> None:
    done = manifests.job("j", "n", "image:1", ["-c", "1"]) | {
        "status": {"conditions": [{"type": "Complete", "status": "True"}]}
    }
    kube = FakeKube({("job", "j"): done})
    assert not jobs.start(kube, manifests.job("j", "n", "image:2", ["-c", "1"]))
    assert kube.calls == []


def test_a_file_comes_out_of_the_cluster_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.secrets, "token_hex", lambda _: "abc")
    data = bytes(range(256)) * 50
    text = base64.b64encode(data).decode()
    log = "a warning\nBEGIN\n" + "\n".join(text[i : i + 4000] for i in range(0, len(text), 4000)) + "\nEND\n"
    done = {"spec": {"template": {"spec": {"containers": [{"image": "i"}]}}}}
    done["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    kube = FakeKube({("job", "read-report-abc"): done}, {"logs": log})
    assert jobs.read_file(kube, Settings(), "i", "s3://b/k") == data
    assert kube.calls[-1] == ("delete", "job", "read-report-abc")


def test_an_interrupted_helm_release_is_cleared() -> None:
    stuck = {"metadata": {"name": "sh.helm.release.v1.flywheel.v2", "labels": {"status": "pending-upgrade"}}}
    fine = {"metadata": {"name": "sh.helm.release.v1.flywheel.v1", "labels": {"status": "deployed"}}}
    kube = FakeKube({("secret", "*"): [fine, stuck]})
    setup.clear_stuck_release(kube)
    assert kube.calls == [("delete", "secret", "sh.helm.release.v1.flywheel.v2")]


def test_a_store_secret_is_made_from_the_environment_or_asked_for() -> None:
    given = {f"FLYWHEEL_S3_{k}": "x" for k in ("ENDPOINT", "BUCKET", "ACCESS_KEY", "SECRET_KEY")}
    kube = FakeKube()
    assert "made Secret" in setup.make_given_secret(kube, Settings(cluster=Cluster.EXISTING), given)
    with pytest.raises(DemoError, match="set FLYWHEEL_S3_SECRET_KEY and run this again"):
        del given["FLYWHEEL_S3_SECRET_KEY"]
        setup.make_given_secret(FakeKube(), Settings(cluster=Cluster.EXISTING), given)
    there = FakeKube({("secret", "flywheel-s3"): {"data": {}}})
    assert "is there" in setup.make_given_secret(there, Settings(cluster=Cluster.EXISTING), {}) and there.calls == []


AVAILABLE = {"status": {"conditions": [{"type": "Available", "status": "True"}]}}
COMPLETE = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}, "spec": {"template": {"spec": {}}}}
OF_J = COMPLETE | {"spec": {"template": {"spec": {"containers": [{"image": "j"}]}}}}


@pytest.mark.parametrize(("log", "imported"), [("MODEL ABSENT", True), ("MODEL PRESENT", False)])
def test_the_model_is_imported_when_the_store_lacks_it_whatever_jobs_say(log: str, imported: bool) -> None:
    objects = {
        ("deployment", "*"): [AVAILABLE],
        ("deployment", "standin"): AVAILABLE,
        ("job", "check-store"): OF_J,
        ("job", f"import-{BASE_MODEL}"): OF_J,
    }
    kube = FakeKube(objects, {"logs": log})
    setup.prepare(kube, Settings(), {"jobs": "j", "ray-cpu": "r"})
    assert (("delete", "job", f"import-{BASE_MODEL}") in kube.calls) is imported
    assert ("delete", "job", "check-store") in kube.calls  # always asked anew


@pytest.mark.parametrize("cluster", ["local", "kind", "existing"])
def test_weather_goes_from_the_command_line_to_the_stand_in(cluster: str, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("")
    images = {image_variable(name): "r/x:1" for name in IMAGES}
    env = {"CLUSTER": cluster, "KUBECONFIG": str(config), **images}
    own = tmp_path / "own.yaml"
    own.write_text("- {status: 503, share: 0.5}\n")
    objects = {("deployment", "*"): [AVAILABLE], ("deployment", "standin"): AVAILABLE, ("job", "check-store"): OF_J}
    for wanted, rows in (("", 0), ("bad", 11), (str(own), 1)):
        kube = FakeKube(objects, {"logs": "MODEL PRESENT"})
        setup.prepare(kube, from_environment({**env, "WEATHER": wanted}), {"jobs": "j", "ray-cpu": "r"})
        deployment = next(o for o in kube.applied if o["kind"] == "Deployment")
        entry = {
            e["name"]: e["value"]
            for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
            if "value" in e
        }
        assert len(faults.parsed(entry["FLYWHEEL_STANDIN_WEATHER"] or "[]")) == rows and build(entry)
    with pytest.raises(DemoError, match=r"WEATHER=bda .*bad, hour, limit"):
        from_environment({**env, "WEATHER": "bda"})


def test_our_pods_meet_pod_security_restricted() -> None:
    pods = [
        manifests.job("j", "n", "i", [])["spec"]["template"]["spec"],
        manifests.standin("n", "i")[0]["spec"]["template"]["spec"],
    ]
    for pod in pods:
        assert (
            pod["securityContext"]["runAsNonRoot"]
            and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        )
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"]} and not context["allowPrivilegeEscalation"]
            assert context["readOnlyRootFilesystem"] and container["resources"]["limits"]["memory"]


def test_a_failure_tells_the_message_the_log_and_the_next_step() -> None:
    failed = make_round(
        conditions=[
            {"type": "Ready", "status": "False", "reason": "RetriesExhausted", "message": "TrainAgentic failed 3 times"}
        ],
        attempts=[{"stage": "TrainAgentic", "attempt": 3, "cause": "App", "message": "loss is NaN"}],
        stages=[{"name": "TrainAgentic", "state": "Failed", "child": {"kind": "RLJob", "name": "demo-train-a3"}}],
    )
    kube = FakeKube({("pods", "*"): [{"metadata": {"name": "demo-train-a3-head"}}]}, {"logs": "FloatingPointError"})
    text = "\n".join(diagnose.lines(kube, "flywheel-demo", failed))
    assert "TrainAgentic failed 3 times" in text and "attempt 3: App: loss is NaN" in text
    assert "demo-train-a3-head: FloatingPointError" in text and "troubleshooting.md#retriesexhausted" in text


def test_the_demo_uses_the_names_of_the_store_that_the_jobs_read() -> None:
    from flywheel_api.stages import STORE_ENV

    assert {**manifests.STORE_ENV, **manifests.OPTIONAL_STORE_ENV} == STORE_ENV


def test_every_stage_has_a_typical_time() -> None:
    from flywheel_api.stages import Stage

    assert set(progress.TYPICAL_SECONDS) == {s.value for s in Stage}


@pytest.mark.parametrize("folder", ["tests/demo", "tests/cluster", "images/builder"])
def test_the_local_tools_need_only_the_standard_library(folder: str) -> None:
    # a domain of one's own is tried by the product's own tester, with the names that it has, before anything is started
    allowed = {"demo", "cluster", "builder", "flywheel_api", "flywheel_domains"} | set(sys.stdlib_module_names)
    for file in (ROOT / folder).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            assert {name.split(".")[0] for name in names} <= allowed, file.name


@pytest.mark.parametrize("name", ["round.yaml", "round-next.yaml"])
def test_the_teacher_is_asked_by_its_own_name(name: str) -> None:
    text = (ROOT / "examples" / name).read_text()
    assert f"model: {MODEL_NAME}}}" in text, "a strict server knows only its own model"
