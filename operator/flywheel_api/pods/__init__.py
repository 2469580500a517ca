"""What may be said of pods: by the chart for each role, and by an object over it, within the chart's allow-list."""
