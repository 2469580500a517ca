"""Models behind OpenAI-compatible endpoints: the client, and answers asked for by a JSON schema."""
