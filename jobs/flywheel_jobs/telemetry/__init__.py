"""What the jobs say while they run."""
