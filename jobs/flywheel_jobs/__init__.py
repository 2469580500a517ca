"""What runs in Flywheel's pods: one entry point per stage, reading and writing only manifests in S3.

The package knows S3 and OpenAI-compatible endpoints. It knows neither Kubernetes nor the operator, and its core
(everything outside `trainer` and `rollout`) holds no torch.
"""
