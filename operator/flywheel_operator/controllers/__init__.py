"""One controller per resource: what to observe, which planner to ask, what to render."""
