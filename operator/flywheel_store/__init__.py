"""The object store, for both halves: the one place that knows S3, its settings, its errors and our layout's blobs.

`settings` parses a Secret or a pod's environment, `connection` is sockets, TLS and time limits, `bucket` the few calls
that everything is made of (and `memory` the same calls without a server), `store` blobs and manifests on top of them.
"""
