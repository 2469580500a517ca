"""What surrounds a stage: its process, its context, its attempt in the store, the journal of its finished items."""
