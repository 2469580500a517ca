"""The error type of the local tools: the image builder, the local cluster, the demo."""


class ToolError(RuntimeError):
    """Something that a person can act on: the text says what happened and what to do next."""
