"""Models that go out: a plain directory of Hugging Face files with a card, outside the store."""
