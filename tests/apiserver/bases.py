"""Models of rounds, in and out, as admission takes and refuses them: (path, value, words of the refusal)."""

MODELS = [
    "hf://Qwen/Qwen2.5-7B-Instruct", "hf://01-ai/Yi_1.5", "s3://b/a key/of words", "s3://b.c",
    "hf://a/b@refs/pr/3", "hf://a/b@v1.0", "hf://a/b@" + "0" * 40,
]  # fmt: skip
HUB = {"endpoint": "http://mirror/", "token": {"secretName": "hub", "key": "k"}}

BASES: dict[str, tuple[tuple[str, ...], object, str]] = {
    "a hub for a model of the store": (("base", "hub"), HUB, "base.hub is for a base.model of hf://"),
    "a hub on this machine": (
        ("base",), {"model": "hf://a/b", "hub": {"endpoint": "http://localhost:1"}}, "localhost is the pod that asks"),
    "a key in the hub's address": (
        ("base",), {"model": "hf://a/b", "hub": {"endpoint": "http://m/?token=x"}}, "put the key into a Secret"),
    "two revisions": (("base", "model"), "hf://a/b@c@d", "or hf://org/name[@revision]"),
    "an empty revision": (("base", "model"), "hf://a/b@", "or hf://org/name[@revision]"),
}  # fmt: skip

EXPORTS: dict[str, tuple[tuple[str, ...], object, str]] = {
    "an export nowhere": (("export",), {}, "set exactly one of export.s3, export.claim and export.hub"),
    "an export to two places": (
        ("export",), {"s3": "s3://b/k", "claim": {"name": "c"}}, "set exactly one of export.s3, export.claim"),
    "an export all over a bucket": (("export",), {"s3": "s3://bucket"}, "write s3://bucket/prefix"),
    "an export with a hole in its path": (("export",), {"s3": "s3://bucket/a//b"}, "write s3://bucket/prefix"),
    "an export out of the volume": (
        ("export",), {"claim": {"name": "c", "path": "../etc"}}, "write a path inside the volume"),
    "an export from the volume's root": (
        ("export",), {"claim": {"name": "c", "path": "/models"}}, "write a path inside the volume"),
    "an export to a hub without token": (("export",), {"hub": {"repo": "acme/r1"}}, "spec.export.hub.token: Required"),
    "an export to a hub's revision": (
        ("export",), {"hub": {"repo": "acme/r1@v1", "token": {"secretName": "h", "key": "t"}}}, "write org/name"),
    "an export to a claim without name": (("export",), {"claim": {"path": "a"}}, "spec.export.claim.name: Required"),
}  # fmt: skip

TRACKERS: dict[str, tuple[tuple[str, ...], object, str]] = {
    "MLflow nowhere": (("training", "tracking"), {"type": "MLflow"}, "tracking.type MLflow needs url"),
    "MLflow of a team": (
        ("training", "tracking"), {"type": "MLflow", "url": "http://m/", "entity": "acme"}, "tracking.entity is W&B's"),
    "W&B without a key": (
        ("training", "tracking"), {"type": "WeightsAndBiases"}, "tracking.type WeightsAndBiases needs apiKey"),
    "a tracker that nobody can tell": (("training", "tracking"), {"type": "Neptune"}, 'supported values: "MLflow"'),
    "Trackio without a key": (
        ("training", "tracking"), {"type": "Trackio", "url": "http://t/"}, "tracking.type Trackio needs url"),
    "Trackio of a team": (
        ("training", "tracking"),
        {"type": "Trackio", "url": "http://t/", "apiKey": {"secretName": "t", "key": "k"}, "entity": "acme"},
        "tracking.entity is W&B's"),
    "a key in a tracker's address": (
        ("training", "tracking"), {"type": "MLflow", "url": "http://u:p@m/"}, "put the key into a Secret"),
    "a tracker on this machine": (
        ("training", "tracking"), {"type": "MLflow", "url": "http://localhost:5000"}, "localhost is the pod that asks"),
    "a project that is a path out": (
        ("training", "tracking"), {"type": "MLflow", "url": "http://m/", "project": "../x"}, "a letter or digit"),
}  # fmt: skip
