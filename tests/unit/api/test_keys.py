"""An API key as a Secret holds it, and as a pod sends it."""

from __future__ import annotations

import pytest

from flywheel_api.base import secret_value


@pytest.mark.parametrize("value", ["sk-1", "sk-1\n", "sk-1\r\n", " sk-1\t"])
def test_white_space_around_a_key_is_nobody_s(value: str) -> None:
    assert secret_value(value) == "sk-1"


@pytest.mark.parametrize(
    ("value", "says"),
    [("", "is empty"), (" \n", "is empty"), ("Bearer sk-1", "write the key alone"), ('"sk-1"', "quotation marks"),
     ("sk\n1", "line break"), ("sk\u00a01", "no key has"), ("sk\x001", "no key has")],
)  # fmt: skip
def test_what_is_no_key_is_said_without_saying_it(value: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as wrong:
        secret_value(value)
    assert "sk" not in str(wrong.value)
