"""The key of an endpoint as Preflight sees it: what a pod could not send is refused by its name, never quoted."""

from __future__ import annotations

import base64
import re

import pytest

from flywheel_api.common import SecretKeyRef
from flywheel_api.conditions import Reason
from flywheel_api.round import Endpoint
from flywheel_operator.observe.preflight import _endpoint
from flywheel_operator.ports.kube_fake import FakeKube


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"sk-live-123\r\n", None),
        (b"  sk-live-123", None),
        (b"sk-live\n-canary", "apiKey of Secret 'teacher' .* holds a line break"),
        (b"\xff\xfecanary", "apiKey of Secret 'teacher' .* is not base64 of UTF-8 text"),
        (b"\n", "apiKey of Secret 'teacher' .* is empty"),
    ],
)
async def test_a_key_that_cannot_be_sent_is_refused(value: bytes, says: str | None) -> None:
    kube = FakeKube()
    data = {"apiKey": base64.b64encode(value).decode()}
    kube.objects["Secret", "n", "teacher"] = {"kind": "Secret", "metadata": {"name": "teacher"}, "data": data}
    ref = SecretKeyRef(secret_name="teacher", key="apiKey")
    endpoint = Endpoint.model_construct(role=type("Role", (), {"value": "Teacher"}), api_key=ref, pool_ref=None)
    problem = await _endpoint(kube, "n", endpoint)
    if says is None:
        assert problem is None
        return
    assert problem is not None and problem.reason is Reason.SECRET_KEY_INVALID

    assert re.match(says, problem.message) and "canary" not in problem.message
