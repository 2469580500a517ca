"""The store as the jobs use it: blobs, manifests and commits in S3, and records that a user brings."""
