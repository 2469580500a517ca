"""The control plane: watches the three resources, decides purely, acts once.

Comments cite laws by number: docs/architecture.md.
"""
