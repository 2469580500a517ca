"""Names are facts (law 3): a child's name is a function of its owner's uid, the stage and the attempt."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache

RAYJOB_NAME_LIMIT = 47  # KubeRay 1.6 refuses longer names (validation.go), with a ValidationFailed that never clears
CHILD_NAME_LIMIT = 45
OWN_NAME_LIMIT = 40
"""Names of our own kinds: room for what is made from them. The CRDs refuse longer ones, of a round's children, too."""

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_PART_OF = "app.kubernetes.io/part-of"
LABEL_COMPONENT = "app.kubernetes.io/component"
MANAGED_BY = "flywheel"
LABEL_OWNER_KIND = "flywheel.dev/owner-kind"
LABEL_OWNER_NAME = "flywheel.dev/owner-name"
LABEL_OWNER_UID = "flywheel.dev/owner-uid"
LABEL_STAGE = "flywheel.dev/stage"
LABEL_ATTEMPT = "flywheel.dev/attempt"
NODE_TYPE = "ray.io/node-type"  # head or worker: KubeRay's, on its pods
ANNOTATION_PAGE = "flywheel.dev/page"  # on a round's RLJob: StageConfig, by which it draws the round's page
LABEL_POOL = "flywheel.dev/pool"
LABEL_WEIGHTS = "flywheel.dev/weights"
FIELD_MANAGER = "flywheel"


def short_hash(text: str, length: int = 5) -> str:
    """A lower-case base32 prefix of sha256: safe in DNS labels, about 25 bits at length 5."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:length]


def kebab(name: str) -> str:
    """`TrainAgentic` as `train-agentic`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


@lru_cache(maxsize=16384)  # asked at each look for each stage
def child_name(owner_name: str, owner_uid: str, stage: str, attempt: int, limit: int = CHILD_NAME_LIMIT) -> str:
    """`<owner>-<stage>-a<attempt>-<hash of owner uid and stage>`, cut in the owner's part only; a DNS-1035 label.

    The hash keeps names unique where owners' names are cut alike, and keeps the children of a deleted owner
    apart from those of its successor of the same name.
    """
    tail = f"-{kebab(stage)}-a{attempt}-{short_hash(owner_uid + '/' + stage)}"
    head = owner_name.replace(".", "-")[: limit - len(tail)].rstrip("-")
    if not head[:1].isalpha():
        head = ("r" + head)[: limit - len(tail)].rstrip("-")
    return head + tail


def weights_label(digest: str) -> str:
    """A label value for a digest: its first 16 hex digits (labels hold 63 characters, digests 71)."""
    return digest.removeprefix("sha256:")[:16]
