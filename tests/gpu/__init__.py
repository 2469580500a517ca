"""The GPU flavour on one real GPU: `make gpu-check`, or packed for a machine without a network (README.md)."""
