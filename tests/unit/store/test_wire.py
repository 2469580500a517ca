"""Where requests go and in whose region: endpoints as people write them, and what servers say when one is wrong."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
import urllib3

from flywheel_store.connection import Limits
from flywheel_store.errors import Refusal, problem_of
from flywheel_store.memory import memory_settings
from flywheel_store.settings import StoreSettings, parse
from flywheel_store.upload import MAX_PARTS, PART_SIZE, Lanes, part_size
from flywheel_store.wire import Wire

NAMES = {key: key for key in ("endpoint", "bucket", "accessKey", "secretKey", "region", "prefix", "secure", "caBundle")}


def settings(endpoint: str, region: str = "") -> StoreSettings:
    values = {"endpoint": endpoint, "bucket": "fly", "accessKey": "a", "secretKey": "s", "region": region}
    return parse(values, "Secret 's'", NAMES)


@pytest.mark.parametrize(
    ("endpoint", "address", "region"),
    [
        ("https://s3.eu-central-1.amazonaws.com", "https://fly.s3.eu-central-1.amazonaws.com/k", "eu-central-1"),
        ("https://s3-eu-west-1.amazonaws.com", "https://fly.s3-eu-west-1.amazonaws.com/k", "eu-west-1"),
        ("https://s3.dualstack.eu-central-1.amazonaws.com",
         "https://fly.s3.dualstack.eu-central-1.amazonaws.com/k", "eu-central-1"),
        ("https://s3-fips.us-gov-west-1.amazonaws.com", "https://fly.s3-fips.us-gov-west-1.amazonaws.com/k",
         "us-gov-west-1"),
        ("https://s3-fips.dualstack.us-east-2.amazonaws.com",
         "https://fly.s3-fips.dualstack.us-east-2.amazonaws.com/k", "us-east-2"),
        ("https://s3.eusc-de-east-1.amazonaws.eu", "https://fly.s3.eusc-de-east-1.amazonaws.eu/k", "eusc-de-east-1"),
        ("https://fly.oss-eu-central-1.aliyuncs.com", "https://fly.oss-eu-central-1.aliyuncs.com/k", ""),
        ("https://s3.cn-north-1.amazonaws.com.cn", "https://fly.s3.cn-north-1.amazonaws.com.cn/k", "cn-north-1"),
        ("https://bucket.vpce-0abc.s3.eu-central-1.vpce.amazonaws.com",
         "https://bucket.vpce-0abc.s3.eu-central-1.vpce.amazonaws.com/fly/k", "eu-central-1"),
        ("https://fly.s3.eu-central-1.amazonaws.com", "https://fly.s3.eu-central-1.amazonaws.com/k", "eu-central-1"),
        ("https://s3.eu-central-1.amazonaws.com/fly", "https://fly.s3.eu-central-1.amazonaws.com/k", "eu-central-1"),
        ("https://s3.amazonaws.com", "https://fly.s3.amazonaws.com/k", ""),
        ("https://abc.r2.cloudflarestorage.com", "https://abc.r2.cloudflarestorage.com/fly/k", ""),
        ("https://s3.eu-central-003.backblazeb2.com",
         "https://s3.eu-central-003.backblazeb2.com/fly/k", "eu-central-003"),
        ("http://minio.minio.svc:9000/", "http://minio.minio.svc:9000/fly/k", ""),
        ("HTTPS://Store.Example.ORG:443/fly/", "https://store.example.org/fly/k", ""),
    ],
)  # fmt: skip
def test_the_host_is_what_people_wrote(endpoint: str, address: str, region: str) -> None:
    found = settings(endpoint)
    assert found.region == region
    assert Wire(found, Limits())._address("fly", "k", {}) == address
    given = Wire(replace(found, region="ap-south-1"), Limits())
    assert given._address("fly", "k", {}).replace("s3.ap-south-1.", "s3.") == address, "a region moves no host"


def test_the_global_endpoint_leads_to_a_regional_one_where_the_bucket_cannot_be_in_the_name() -> None:
    wire = Wire(settings("https://s3.amazonaws.com", "eu-west-3"), Limits())
    assert (
        wire._address("my.bucket", "a b", {"x": "1 2"}) == "https://s3.eu-west-3.amazonaws.com/my.bucket/a%20b?x=1%202"
    )


class Line(Wire):
    """A line to a server in another region; `says` is how its refusal tells it."""

    def __init__(self, given: str, says: dict[str, str], head: bool = False) -> None:
        super().__init__(replace(memory_settings(), region=given), Limits())
        self.says, self.asked = says, list[str]()

    def _once(self, method: str, bucket: str, key: str, query: Any, *_: Any) -> Any:
        self.asked.append(f"{method} {'location' if 'location' in query else key} in {self._region}")
        if self._region == "eu-central-1":
            return "answer"
        told = self.says if method != "HEAD" else {}
        raise Refusal(method, 400, told.get("code", "HTTP 400"), told.get("region", ""))


def test_a_region_that_nobody_gave_is_learnt_from_the_refusal() -> None:
    told = {"code": "AuthorizationHeaderMalformed", "region": "eu-central-1"}
    line = Line("", told)
    assert line.send("PUT", "b", "k") == "answer" and line.send("PUT", "b", "k") == "answer"
    assert line.asked == ["PUT k in us-east-1", "PUT k in eu-central-1", "PUT k in eu-central-1"]
    line = Line("", told)
    assert line.send("HEAD", "b", "k") == "answer"
    assert line.asked == ["HEAD k in us-east-1", "GET location in us-east-1", "HEAD k in eu-central-1"]


def test_a_region_that_was_given_stays_and_the_right_one_is_told() -> None:
    line = Line("us-west-2", {"code": "AuthorizationHeaderMalformed", "region": "eu-central-1"})
    with pytest.raises(Refusal) as caught:
        line.send("PUT", "b", "k")
    assert caught.value.region == "eu-central-1" and len(line.asked) == 1


DENIED = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
MALFORMED = "<Code>AuthorizationHeaderMalformed</Code><Message>it is wrong; expecting &#39;eu-x-1&#39;</Message>"


@pytest.mark.parametrize(
    ("body", "code", "region"),
    [
        (DENIED, "AccessDenied", ""),
        (f"\ufeff<?xml version='1.0' encoding='UTF-8'?>\n{DENIED}", "AccessDenied", ""),
        (f"<ErrorResponse xmlns='https://iam'>{DENIED}<RequestId>1</RequestId></ErrorResponse>", "AccessDenied", ""),
        (DENIED[:-20], "AccessDenied", ""),  # a proxy cut it off
        (f"<s:Error xmlns:s='x'>{DENIED[7:-8].replace('Code>', 's:Code>')}</s:Error>", "AccessDenied", ""),
        (f"<Error>{MALFORMED}</Error>", "AuthorizationHeaderMalformed", "eu-x-1"),
        ("<html><code>AccessDenied</code><h1>Error</h1></html>", "HTTP 403", ""),
        ("You're speaking plain HTTP to an SSL-enabled server port.", "HTTP 403", ""),
        ("", "HTTP 403", ""),
    ],
)  # fmt: skip
def test_error_documents_are_read_however_they_are_wrapped(body: str, code: str, region: str) -> None:
    answer = urllib3.HTTPResponse(io.BytesIO(body.encode()), status=403)
    refusal = Wire(memory_settings(), Limits())._refusal("PUT", answer, stream=False)
    assert (refusal.code, refusal.region) == (code, region)


# ---- parts and lanes -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [17 << 20, 140 << 30, 156 << 30, 157 << 30, 1 << 40, 5 << 40])
def test_parts_fit_whatever_the_size(size: int) -> None:
    step = part_size(size)
    assert -(-size // step) <= MAX_PARTS and PART_SIZE <= step <= 5 << 30
    assert size > PART_SIZE * MAX_PARTS or step == PART_SIZE


def test_lanes_follow_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("flywheel_store.upload.time.monotonic", lambda: now[0])
    lanes = Lanes()

    def send(rate: float, error: Exception | None = None) -> None:
        """As many parts as may travel, over a line of `rate` MiB/s that they share."""
        now[0] += 1.0
        opened = [lanes.one(PART_SIZE) for _ in range(lanes.width)]
        for lane in opened:
            lane.__enter__()
        now[0] += PART_SIZE * len(opened) / (rate * (1 << 20))
        for lane in opened:
            lane.__exit__(type(error) if error else None, error, None)

    widths = []
    for rate in (0.5, 2.0, 10.0, 100.0):
        for _ in range(12):
            send(rate)
        widths.append(lanes.width)
    assert widths[0] == 1 and widths[1] <= 2 and 2 <= widths[2] <= 10 and widths[3] == 16
    send(100.0, OSError("reset"))
    assert lanes.width == 8, "one trouble of many parts together halves once"


def test_messages_hold_no_address_of_an_object() -> None:
    answer = Refusal("PUT", 302, "Redirect", location="https://other.example.org")
    text = str(problem_of(answer, "http://s3:9000", "b"))
    assert re.search(r"redirects to https://other\.example\.org,", text)
