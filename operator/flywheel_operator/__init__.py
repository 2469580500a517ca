"""The control plane: watches the three resources, decides purely, acts once (laws 1 to 3)."""
