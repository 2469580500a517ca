"""Builds the container images: `make images`, or `python3 images/build.py [NAME...]`.

Each image is built in two steps. The stage `deps` of its Containerfile (base, locked packages, environment) goes
through buildah, podman or docker and is kept under the hash of what went into it. Our own code is one small layer laid
over it without any tool, so a code change costs a second. The result is an OCI layout per image:

  $FLYWHEEL_CACHE/images/oci/NAME      ready for `ctr images import`, `skopeo copy oci:...`, `podman pull oci:...`
  $FLYWHEEL_CACHE/images/images.json   {NAME: {ref, oci, digest}}

Environment:
  BASE_IMAGE      a Debian 12 image of a registry, or `local` (default): made here by mmdebstrap
  IMAGE_BUILDER   buildah, podman or docker (default: the first that works)
  CUDA_LIBRARIES  stubs (default) or real: see ray-cpu/Containerfile
  FLYWHEEL_CACHE  default $XDG_CACHE_HOME/flywheel or ~/.cache/flywheel
"""

import argparse
import fcntl
import json
import os
import shutil
import sys
import time
from pathlib import Path

from builder import oci
from builder.base import ensure_base
from builder.errors import ToolError
from builder.recipes import DEFAULT, RECIPES, REGISTRY, ROOT, Recipe
from builder.tools import Tool, find_tool


def cache_folder() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("FLYWHEEL_CACHE") or home / "flywheel") / "images"


def say(text: str) -> None:
    print(f"images: {text}", flush=True)


class Builder:
    """Builds images into one cache folder."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.base_image = os.environ.get("BASE_IMAGE") or "local"
        self.arguments = {"CUDA_LIBRARIES": os.environ.get("CUDA_LIBRARIES") or "stubs"}
        self._tool: Tool | None = None

    @property
    def tool(self) -> Tool:
        """Looked for only when something must be built: a machine with a full cache needs no builder."""
        if self._tool is None:
            self._tool = find_tool(self.cache)
        return self._tool

    def dependencies(self, recipe: Recipe) -> oci.Layout:
        """The image without our code, from the cache or built."""
        key = recipe.key(self.base_image, self.arguments if recipe.name == "ray-cpu" else {})
        folder = self.cache / "deps" / f"{recipe.name}-{key}"
        if oci.Layout(folder).complete():
            return oci.Layout(folder)
        started = time.monotonic()
        say(f"{recipe.name}: building its dependencies with {self.tool.name}")
        base = ensure_base(self.tool, self.base_image)
        arguments = {"BASE_IMAGE": base, **(self.arguments if recipe.name == "ray-cpu" else {})}
        tag = f"{REGISTRY}/{recipe.name}-deps:{key}"
        self.tool.build(recipe.containerfile, ROOT, "deps", tag, arguments)
        built = time.monotonic()
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        self.tool.export(tag, partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        say(f"{recipe.name}: built in {built - started:.0f} s, exported in {time.monotonic() - built:.0f} s")
        for old in folder.parent.glob(f"{recipe.name}-*"):
            if old != folder and len(old.name) == len(folder.name):
                shutil.rmtree(old)
        return oci.Layout(folder)

    def image(self, recipe: Recipe) -> dict[str, str]:
        """The finished image: dependencies plus the layer of our code."""
        code = list(recipe.code())
        for package in recipe.packages:
            name = Path(package).name
            if not any(f"/{name}/" in path for path, _ in code):
                raise ToolError(f"{recipe.name}: {package} holds no files; run this from a full checkout")
        dependencies = self.dependencies(recipe)
        folder = self.cache / "oci" / recipe.name
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        digest = oci.add_layer(dependencies, partial, oci.layer_tar(code), f"COPY {' '.join(recipe.packages)}")
        ref = f"{REGISTRY}/{recipe.name}:{digest.removeprefix('sha256:')[:12]}"
        oci.Layout(partial).name(ref)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        return {"ref": ref, "oci": str(folder), "digest": digest}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(RECIPES)}; default: {', '.join(DEFAULT)}")
    parser.add_argument("--deps-only", action="store_true", help="build the layers below our code and stop")
    options = parser.parse_args(arguments)
    unknown = [n for n in options.names if n not in RECIPES]
    if unknown:
        parser.error(f"unknown image {', '.join(unknown)}; there are {', '.join(RECIPES)}")
    if sys.version_info[:2] != (3, 11):
        parser.error("run this with Python 3.11: the images' bytecode is made by the interpreter that runs it")
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two builds at once would share half-written folders
        return build(Builder(cache), [RECIPES[n] for n in options.names or DEFAULT], options.deps_only)


def build(builder: Builder, recipes: list[Recipe], deps_only: bool) -> int:
    listing = builder.cache / "images.json"
    images: dict[str, dict[str, str]] = json.loads(listing.read_text()) if listing.exists() else {}
    try:
        for recipe in recipes:
            started = time.monotonic()
            if deps_only:
                builder.dependencies(recipe)
                continue
            images[recipe.name] = builder.image(recipe)
            temporary = listing.with_suffix(".json.partial")
            temporary.write_text(json.dumps(images, indent=2, sort_keys=True) + "\n")
            temporary.rename(listing)
            say(f"{images[recipe.name]['ref']} ready in {time.monotonic() - started:.1f} s")
    except ToolError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
