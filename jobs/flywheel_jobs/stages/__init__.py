"""Stages of a round that run as CPU pods: one module each, with `async def run(ctx) -> StageResult`."""
