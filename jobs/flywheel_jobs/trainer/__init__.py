"""Training: one verl run from a claimed attempt to a committed checkpoint (entry point `driver`)."""
