"""The row that a warm-up is fine-tuned on, in the names that verl's SFT data set reads."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

CONVERSATION_SCHEMA = "verl-conversation/v1"


class LearntMessage(BaseModel):
    """A message; verl's data set reads role and content, ours also `learn`."""

    model_config = ConfigDict(frozen=True)
    role: str = Field(description="system, user, assistant or tool.")
    content: str = Field(description="Its text.")
    learn: bool = Field(default=False, description="Whether the policy learns to write it.")


class Conversation(BaseModel):
    """A prompt and what is right to say, with where it comes from."""

    model_config = ConfigDict(frozen=True)
    messages: list[LearntMessage] = Field(description="All messages, the last one learnt.")
    id: str = Field(description="Id of the problem or task.")

    def row(self) -> dict[str, Any]:
        """The Parquet row."""
        return self.model_dump()
