"""The one reader of what a model says: its thought, its calls, its final answer, its JSON, and what answers mean."""
