"""What a warm-up learns of a conversation, by templates that write something between turns, or nothing, or less."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flywheel_jobs.trainer.turn_tokens import Message, NotRendered, tokens_of

Write = Callable[[list[Message]], str]


class Tokenizer:
    """Words of one character; `write` is the template."""

    eos_token = "$"

    def __init__(self, write: Write) -> None:
        self._write = write

    def apply_chat_template(self, messages: list[Message], add_generation_prompt: bool, tokenize: bool) -> str:
        assert add_generation_prompt and not tokenize
        return self._write([*messages, {"role": "assistant", "content": None}])

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return [ord(c) for c in text]


def turn(message: Message) -> str:
    text = message["content"]
    return f"<{message['role'][0]}>" if text is None else f"<{message['role'][0]}>{text}$"


def lines(messages: list[Message]) -> str:
    """A line break between turns: SmolLM2's way."""
    return "\n".join(map(turn, messages))


def plain(messages: list[Message]) -> str:
    return "".join(map(turn, messages))


def forgetful(messages: list[Message]) -> str:
    """Earlier turns of the assistant are shortened, but for the last one: thought that is cut out of the history."""
    last = max((i for i, m in enumerate(messages[:-1]) if m["role"] == "assistant"), default=-1)
    shown = [m | {"content": "…"} if m["role"] == "assistant" and i < last else m for i, m in enumerate(messages[:-1])]
    return plain([*shown, messages[-1]])


def said(role: str, content: str, learn: bool | None = None) -> Message:
    return {"role": role, "content": content} | ({} if learn is None else {"learn": learn})


def told(messages: list[Message], write: Write) -> str:
    """The conversation with what is learnt in capitals, which the test's texts have none of."""
    ids, mask = tokens_of(messages, Tokenizer(write))
    return "".join(chr(i).upper() if learnt else chr(i) for i, learnt in zip(ids, mask, strict=True)).replace("$", ".")


def learnt(messages: list[Message], write: Write) -> list[str]:
    """The stretches that are learnt."""
    ids, mask = tokens_of(messages, Tokenizer(write))
    marked = "".join(chr(i) if m else "|" for i, m in zip(ids, mask, strict=True))
    return [part for part in marked.split("|") if part]


SHOT = [said("system", "s"), said("user", "q"), said("assistant", "6", learn=False), said("user", "r")]


@pytest.mark.parametrize("write", [lines, plain])
def test_the_whole_answer_and_its_end_are_learnt_and_nothing_else(write: Write) -> None:
    messages = [*SHOT, said("assistant", "7", learn=True)]
    assert learnt(messages, write) == ["7$"], "a mask that begins one token late learns the end alone"
    ids, _ = tokens_of(messages, Tokenizer(write))
    assert "".join(map(chr, ids)) == write(messages), "the text that a rollout has"


def test_every_turn_of_a_conversation_is_learnt() -> None:
    messages = [said("user", "q"), said("assistant", "call"), said("tool", "open"), said("assistant", "done")]
    assert learnt(messages, lines) == ["call$", "done$"]
    assert told(messages, lines) == "<u>q.\n<a>CALL.\n<t>open.\n<a>DONE."


def test_a_template_that_shows_earlier_turns_otherwise() -> None:
    """The tokens stay those that were said, as they do in a rollout."""
    messages = [said("user", "q"), *(said(role, f"{role[0]}{n}") for n in range(3) for role in ("assistant", "tool"))]
    assert learnt(messages, forgetful) == ["a0$", "a1$", "a2$"]
    assert told(messages[:-1], forgetful) == "<u>q.<a>A0.<t>t0.<a>A1.<t>t1.<a>A2."


def test_a_turn_that_the_template_hides() -> None:
    def hiding(messages: list[Message]) -> str:
        return plain([m for m in messages if m["role"] != "assistant" or m["content"] is None])

    with pytest.raises(NotRendered, match="call"):
        tokens_of([said("user", "q"), said("assistant", "call"), said("tool", "x"), said("assistant", "y")],
                  Tokenizer(hiding))  # fmt: skip


def test_nothing_to_learn() -> None:
    assert tokens_of([said("user", "q"), said("assistant", "6", learn=False)], Tokenizer(lines)) == ([], [])
