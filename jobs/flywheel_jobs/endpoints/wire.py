"""What OpenAI-compatible endpoints answer, as far as it is read. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ValidationError

from flywheel_api.artifacts import ServedBy


class Said(BaseModel):
    """The message of a choice."""

    content: str | None = None


class Choice(BaseModel):
    """One answer."""

    message: Said = Said()
    finish_reason: str | None = None


class TokenCount(BaseModel):
    """What an endpoint says that a request has cost."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Completion(BaseModel):
    """The answer to POST /chat/completions."""

    choices: list[Choice] | None = None
    usage: TokenCount | None = None


class Entry(BaseModel):
    """A model in the answer to GET /models; `standin`, `notice` and `weights` are ours."""

    id: str | None = None
    owned_by: str | None = None
    standin: bool | None = None
    notice: str | None = None
    weights: str | None = None


def _entries(found: object) -> list[Entry]:
    entries = []
    for value in found if isinstance(found, list) else []:
        try:
            entries.append(Entry.model_validate(value))
        except ValidationError:
            continue
    return entries


class Listing(BaseModel):
    """The answer to GET /models. Gateways list all sorts of things; what is no model is skipped."""

    data: Annotated[list[Entry], BeforeValidator(_entries)] = []

    def served_by(self, role: str, model: str) -> ServedBy:
        """The entry of the asked model, or the first; a bare record if the endpoint says nothing."""
        entry = next((e for e in self.data if e.id == model), self.data[0] if self.data else Entry())
        return ServedBy(
            role=role,
            model=model,
            owned_by=entry.owned_by,
            standin=entry.standin is True,
            notice=entry.notice,
            weights=entry.weights,
        )
