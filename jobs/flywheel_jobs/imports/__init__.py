"""Models that come in: from a hub, or from a directory of Hugging Face files in a bucket."""
