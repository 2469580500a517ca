"""A mirror of the model hub in a pod: `python hub_server.py REPO MODEL` serves a model of the store by that name."""

from __future__ import annotations

import sys
from pathlib import Path

from aiohttp import web

from contract.hub import Mirror
from flywheel_jobs.harness.fetch_model import MARKER, fetch


def main(repo: str, model: str, port: int = 8000) -> None:
    """Serves until it is killed."""
    folder = Path("/models/hub")
    fetch(model, folder)
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    files.pop(MARKER, None)
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", Mirror(files, repo=repo).handle)
    web.run_app(app, port=port)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
