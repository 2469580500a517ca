"""The agentic flywheel: personas, behaviour trees, inversion of a branch into a task, episodes and acceptance."""
