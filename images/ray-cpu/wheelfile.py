"""Writes a wheel from bytes in memory: enough for the two local wheels of this image, reproducible to the byte."""

import base64
import hashlib
import zipfile
from pathlib import Path


def write_wheel(folder: Path, name: str, version: str, tag: str, metadata: list[str], files: dict[str, bytes]) -> Path:
    """Write FOLDER/NAME-VERSION-TAG.whl holding FILES (archive path to content) and return its path.

    NAME is the distribution's name with underscores, METADATA further header lines beside name and version.
    """
    info = f"{name}-{version}.dist-info"
    head = ["Metadata-Version: 2.1", f"Name: {name.replace('_', '-')}", f"Version: {version}", *metadata]
    pure = "true" if tag.endswith("-any") else "false"
    wheel = ["Wheel-Version: 1.0", "Generator: flywheel", f"Root-Is-Purelib: {pure}", f"Tag: {tag}"]
    content = dict(files)
    content[f"{info}/METADATA"] = ("\n".join(head) + "\n").encode()
    content[f"{info}/WHEEL"] = ("\n".join(wheel) + "\n").encode()
    record = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in content.items())
    content[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    target = folder / f"{name}-{version}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in content.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    return target


def _digest(data: bytes) -> str:
    """The urlsafe, unpadded base64 sha256 that RECORD asks for."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
