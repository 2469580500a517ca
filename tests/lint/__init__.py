"""Rules of our own for import-linter (pyproject.toml)."""
