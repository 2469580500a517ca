"""`make demo`: one round on a real one-node Kubernetes, from an empty machine to the verdict. Standard library only."""
