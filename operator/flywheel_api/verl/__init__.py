"""What verl is told, and what it would refuse: pure, so that both halves ask the same."""
