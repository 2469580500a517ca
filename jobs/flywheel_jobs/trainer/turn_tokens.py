"""A conversation as the tokens that a rollout of it would be: prompt, what was said with its end, what came between.

verl's own data set renders each message alone. A template that writes something between messages, as SmolLM2's line
break, then loses it, and the mask of what is learnt begins behind the answer's first token: a bare "7" was not learnt
at all. Here text is rendered from the start, as the agent loops have it. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]


class NotRendered(ValueError):
    """The template does not show what was said: its place in the conversation cannot be found."""


def tokens_of(messages: Sequence[Message], tokenizer: Any, **template: Any) -> tuple[list[int], list[bool]]:
    """Tokens, and which of them are learnt. Without `learn` what the assistant says is. Raises NotRendered."""
    said = [{"role": m["role"], "content": m["content"]} for m in messages]
    learnt = [i for i, m in enumerate(messages) if _is_learnt(m)]
    ids: list[int] = []
    mask: list[bool] = []
    before = ""
    for place in learnt:
        shown = tokenizer.apply_chat_template(said[:place], add_generation_prompt=True, tokenize=False, **template)
        context = _encoded(tokenizer, _behind(shown, before))
        before = said[place]["content"] + tokenizer.eos_token
        answer = _encoded(tokenizer, before)
        ids += context + answer
        mask += [False] * len(context) + [True] * len(answer)
    return ids, mask


def _is_learnt(message: Message) -> bool:
    learn = message.get("learn")
    return bool(message["role"] == "assistant") if learn is None else bool(learn)


def _behind(shown: str, said: str) -> str:
    """What stands behind the last turn. A template may show earlier turns otherwise than they were said."""
    if said not in shown:
        raise NotRendered(f"the chat template does not show {said[:80]!r} as it was said")
    return shown[shown.rindex(said) + len(said) :] if said else shown


def _encoded(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))
