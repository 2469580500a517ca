"""One parser for a Secret and for the environment made from it: what it reads, and what it refuses in which words."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_api.conditions import Reason
from flywheel_api.stages import STORE_ENV
from flywheel_store.bucket import S3Bucket
from flywheel_store.errors import StoreProblem
from flywheel_store.settings import StoreSettings, from_env, from_secret

GOOD = {"endpoint": "http://s3:9000", "bucket": "flywheel", "accessKey": "key-canary", "secretKey": "secret-canary"}


def secret(values: dict[str, str | bytes]) -> dict[str, object]:
    """A core/v1 Secret."""
    raw = {key: value.encode() if isinstance(value, str) else value for key, value in values.items()}
    return {"data": {key: base64.b64encode(value).decode() for key, value in raw.items()}}


def both(values: dict[str, str]) -> StoreSettings:
    """What the operator reads, which must be what a job reads."""
    seen = from_secret("s", secret({**values}))
    assert from_env({STORE_ENV[key]: value for key, value in values.items()}) == seen
    return seen


@pytest.mark.parametrize(
    ("endpoint", "secure", "expected"),
    [
        ("http://minio.minio.svc:9000", "", ("minio.minio.svc:9000", False)),
        ("https://s3.example.org/", "false", ("s3.example.org", True)),
        ("s3.example.org", "", ("s3.example.org", True)),
        ("localhost:9000", "False", ("localhost:9000", False)),
        ("https://[::1]:9000", "", ("[::1]:9000", True)),
        ("https://s3.amazonaws.com:443", "", ("s3.amazonaws.com", True)),  # the port that is meant anyway
        ("http://minio:80", "", ("minio", False)),
        ("http://minio:443", "", ("minio:443", False)),
        ("https://flywheel.nyc3.digitaloceanspaces.com", "", ("nyc3.digitaloceanspaces.com", True)),
        ("flywheel.s3.fr-par.scw.cloud", "", ("s3.fr-par.scw.cloud", True)),
        ("https://flywheel.s3.amazonaws.com/", "", ("s3.amazonaws.com", True)),
        ("http://flywheel.s3.svc:9000", "", ("flywheel.s3.svc:9000", False)),  # a Service of that name
        ("https://flywheel.oss-eu-central-1.aliyuncs.com", "", ("oss-eu-central-1.aliyuncs.com", True)),
        ("https://flywheel.cos.eu-frankfurt.myqcloud.com", "", ("cos.eu-frankfurt.myqcloud.com", True)),
        ("https://flywheel.s3.eusc-de-east-1.amazonaws.eu", "", ("s3.eusc-de-east-1.amazonaws.eu", True)),
        ("http://storageserver", "", ("storageserver", False)),  # may be base64, and says no address
    ],
)
def test_endpoints(endpoint: str, secure: str, expected: tuple[str, bool]) -> None:
    found = both({**GOOD, "endpoint": endpoint, "secure": secure})
    assert (found.endpoint, found.secure) == expected
    S3Bucket(found)


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("s3.eu-central-1.amazonaws.com", "eu-central-1"),
        ("flywheel.s3.us-west-004.backblazeb2.com", "us-west-004"),
        ("s3.fr-par.scw.cloud", "fr-par"),
        ("s3.gra.io.cloud.ovh.net", "gra"),
        ("s3.gra.perf.cloud.ovh.net", "gra"),
        ("s3.bhs.cloud.ovh.net", "bhs"),
        ("s3.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
        ("ns.compat.objectstorage.eu-frankfurt-1.oraclecloud.com:443", "eu-frankfurt-1"),
        ("s3.amazonaws.com", ""),
        ("s3-accelerate.amazonaws.com", ""),
        ("s3.wasabisys.com", ""),
        ("nyc3.digitaloceanspaces.com", ""),
        ("s3.team.svc:9000", ""),
    ],
)
def test_the_region_that_an_address_says(endpoint: str, region: str) -> None:
    assert both({**GOOD, "endpoint": endpoint}).region == region


@pytest.mark.parametrize("key", [key for key in STORE_ENV if key != "caBundle"])
def test_blanks_and_line_breaks_around_a_value_do_not_count(key: str) -> None:
    values = {**GOOD, "region": "eu-central-1", "prefix": "team", "secure": "true"}
    assert both({**values, key: f" {values[key]}\r\n"}) == both(values)


def test_defaults() -> None:
    found = both(GOOD)
    assert (found.prefix, found.region, found.ca_bundle) == ("flywheel", "", None)
    assert both({**GOOD, "prefix": "/my data+ü/a b/"}).full_key("x") == "my data+ü/a b/x"
    assert found.uri("x") == "s3://flywheel/flywheel/x"
    assert "canary" not in repr(found)


BAD = [
    ("endpoint", "http://s3:9000/minio"),
    ("endpoint", "h.example.com/minio"),
    ("endpoint", "//h:9000"),
    ("endpoint", "http:/h:9000"),
    ("endpoint", "https://key:value-canary@h"),
    ("endpoint", "h:abc"),
    ("endpoint", "https://h:99999"),
    ("endpoint", "ftp://h"),
    ("endpoint", "a b"),
    ("endpoint", "https://s3..example"),
    ("endpoint", "https://-s3.example"),
    ("endpoint", f"https://{'a' * 64}.example"),
    ("bucket", "a..b"),
    ("prefix", '"team"'),
    ("endpoint", "fd00::5"),
    ("accessKey", "export AWS_ACCESS_KEY_ID=value-canary"),
    ("prefix", "../other-bucket"),
    ("prefix", "team/./x"),
    ("prefix", "team//x"),
    ("secure", "off"),
    ("bucket", "s3://x"),
    ("bucket", "x/sub"),
    ("region", "eu west"),
    ("prefix", "a\nb"),
    ("accessKey", "value-canary\nb"),
    ("secretKey", "value-canary-ü"),
    ("caBundle", "/no/such/file.pem"),
    ("caBundle", "-----BEGIN CERTIFICATE-----\nvalue-canary\n-----END CERTIFICATE-----"),
    ("caBundle", "ü"),
]


@pytest.mark.parametrize(("key", "value"), BAD)
def test_what_cannot_be_used_is_a_problem_that_names_the_key(key: str, value: str) -> None:
    values = {**GOOD, "endpoint": "https://s3:9000", key: value}
    for name, read in (
        (key, lambda: from_secret("my-store", secret(values))),
        (STORE_ENV[key], lambda: from_env({STORE_ENV[k]: v for k, v in values.items()})),
    ):
        with pytest.raises(StoreProblem, match=rf"^{re.escape(name)} of ") as caught:
            read()
        assert caught.value.reason is Reason.SECRET_KEY_INVALID
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("endpoint", "http://2001:db8::1", "without brackets"),
        ("endpoint", "fd00::5", "without brackets"),
        ("endpoint", base64.b64encode(b"https://s3.example.com:9000\n").decode(), "base64 of base64"),
        ("endpoint", base64.b64encode(b"minio.store.svc").decode().rstrip("="), "base64 of base64"),
        ("prefix", "'team/a'", "in quotation marks"),
        ("accessKey", "AWS_ACCESS_KEY_ID=AKIACANARY", "name of a variable"),
        ("accessKey", "aws_access_key_id = AKIACANARY", "name of a variable"),
        ("secretKey", "export MINIO_ROOT_PASSWORD=canary", "name of a variable"),
        ("secretKey", "secretKey=canary", "name of a variable"),
        ("secretKey", '{"accessKey": "a", "secretKey": "canary"}', "a JSON document"),
    ],
)
def test_what_another_tool_wrote_around_a_value_is_said(key: str, value: str, words: str) -> None:
    with pytest.raises(StoreProblem, match=f"^{key} of Secret 'my-store' .*{words}") as caught:
        from_secret("my-store", secret({**GOOD, key: value}))
    assert "canary" not in str(caught.value).lower()


@pytest.mark.parametrize("value", ["abc/def+ghi=", "a=b", "secret==", "key=", "monkey=x y", "{x}", "pass:word=1", '"'])
def test_a_key_may_hold_what_looks_odd(value: str) -> None:
    assert both({**GOOD, "secretKey": value}).secret_key == value


def test_what_is_no_text_is_a_problem_that_names_the_key() -> None:
    for key in STORE_ENV:
        with pytest.raises(StoreProblem, match=f"^{key} of Secret 'my-store' is not base64 of UTF-8 text"):
            from_secret("my-store", secret({**GOOD, key: b"\x30\x82\xff"}))
        found = secret({**GOOD})
        found["data"][key] = "no base64!"  # type: ignore[index]
        with pytest.raises(StoreProblem, match=f"^{key} of "):
            from_secret("my-store", found)
    assert from_secret("s", secret({**GOOD, "keystore.p12": b"\xff"})) == both(GOOD), "other keys are not ours"


def test_each_missing_key_is_named() -> None:
    with pytest.raises(StoreProblem, match="Secret 's' lacks bucket, accessKey: a store Secret has the keys") as caught:
        from_secret("s", secret({"endpoint": "http://x", "secretKey": "s", "bucket": " \n"}))
    assert caught.value.reason is Reason.SECRET_KEY_MISSING
    with pytest.raises(StoreProblem, match="lacks FLYWHEEL_S3_BUCKET, FLYWHEEL_S3_ACCESS_KEY"):
        from_env({STORE_ENV["endpoint"]: "http://x", STORE_ENV["secretKey"]: "s"})
    for alone in ("accessKey", "secretKey"):
        with pytest.raises(StoreProblem, match="lacks") as caught:
            both({k: v for k, v in GOOD.items() if k != alone})
        assert caught.value.reason is Reason.SECRET_KEY_MISSING, "one alone is a mistake, and no identity"
    assert both({k: v for k, v in GOOD.items() if not k.endswith("Key")}).by_identity and not both(GOOD).by_identity
    for empty in ({}, {"data": None}, {"data": {}}):
        with pytest.raises(StoreProblem, match="lacks endpoint"):
            from_secret("s", empty)


def test_a_missing_file_of_authorities_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(StoreProblem, match="SSL_CERT_FILE"):
        from_secret("s", secret({**GOOD, "endpoint": "https://s3"}))
    both(GOOD)


@given(st.dictionaries(st.sampled_from(list(STORE_ENV)), st.binary(max_size=40) | st.text(max_size=40), min_size=1))
def test_whatever_a_secret_holds_it_is_settings_or_a_problem(values: dict[str, str | bytes]) -> None:
    try:
        S3Bucket(from_secret("s", secret({**GOOD, **values})))
    except StoreProblem as problem:
        assert "\n" not in str(problem)
