"""Makes a wheel of stub CUDA libraries, so that the CUDA build of torch imports on a machine without a GPU.

usage: make_cuda_stubs.py SITE_PACKAGES OUTDIR        (needs gcc and binutils: nm, readelf)

The package registry's only torch for Linux x86_64 is the CUDA build. Its shared objects name 14 NVIDIA libraries as
NEEDED, so `import torch` fails without 2.2 GB of packages whose code a machine without a GPU never runs. The stubs have
the same sonames and symbol versions; every function answers "no device" (cudaErrorNoDevice, 100). Autograd, SVD, bf16,
gloo, the profiler, vLLM and verl gave the same results with them as with the real libraries. Nothing of NVIDIA's is
copied: the names are read from the undefined symbols of torch's own libraries.

Only for images without a GPU. Never install the wheel beside real nvidia packages; make it anew when torch changes.
A `+cpu` build of torch, or CUDA_LIBRARIES=real in the Containerfile, makes all of this unnecessary.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from wheelfile import write_wheel

# library -> symbol version ("" for none) -> names of functions
Symbols = dict[str, dict[str, set[str]]]

SYSTEM_LIBRARY = re.compile(r"lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s|gomp)\.so|ld-linux|libcuda\.so\.1")
# libraries whose symbols carry no version: told by the functions' prefix
BY_PREFIX = {
    "cusparseLt": "libcusparseLt",
    "cuFile": "libcufile",
    "nccl": "libnccl",
    "curand": "libcurand",
    "nvshmem": "libnvshmem_host",
    "nvrtc": "libnvrtc",
}
# version nodes that are not named after their library
BY_VERSION = {"NVSHMEM": "libnvshmem_host"}
TEXT_FUNCTION = re.compile(r"(Get\w*(ErrorString|ErrorName|StatusString|LastError)|GetErrorString)$")
CUDA_VERSION = 13000  # what cudaRuntimeGetVersion answers: CUDA 13.0, the one that torch was built with


def read_symbols(torch_lib: Path) -> Symbols:
    """What torch's libraries need from libraries that are neither theirs nor the system's."""
    objects = [p for p in sorted(torch_lib.iterdir()) if ".so" in p.name and p.is_file()]
    own = {p.name for p in objects}
    needed: set[str] = set()
    undefined: set[str] = set()
    defined: set[str] = set()
    for path in objects:
        for match in re.finditer(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-dW", str(path))):
            if match[1] not in own and not SYSTEM_LIBRARY.match(match[1]):
                needed.add(match[1])
        for line in run("nm", "-D", str(path)).splitlines():
            kind, name = line.split()[-2:]
            (undefined if kind in "Uwv" else defined).add(name)
    symbols: Symbols = {library: defaultdict(set) for library in needed}
    for symbol in undefined:
        name, _, version = symbol.partition("@")
        version = version.lstrip("@")
        if not version and (symbol in defined or name in defined):
            continue
        library = find_library(name, version, needed)
        if library:
            symbols[library][version].add(name)
    return symbols


def find_library(name: str, version: str, needed: set[str]) -> str | None:
    """The library a symbol comes from, or None for the system's."""
    if version in needed:
        return version
    if version:
        stem = BY_VERSION.get(version)
    else:
        stem = next((library for prefix, library in BY_PREFIX.items() if name.startswith(prefix)), None)
    return next((library for library in needed if stem and library.startswith(f"{stem}.so")), None)


def c_function(name: str, cudnn: tuple[int, int, int]) -> str:
    """C source of one stub. Version queries answer what torch was built with, for torch compares them."""
    major, minor, patch = cudnn
    special = {
        "cudaGetDeviceCount": "int {n}(int*c){{if(c)*c=0;return 35;}}",  # cudaErrorInsufficientDriver
        "cudaDriverGetVersion": "int {n}(int*v){{if(v)*v=0;return 0;}}",
        "cudaRuntimeGetVersion": f"int {{n}}(int*v){{{{if(v)*v={CUDA_VERSION};return 0;}}}}",
        "cudaGetLastError": "int {n}(void){{return 0;}}",
        "cudaPeekAtLastError": "int {n}(void){{return 0;}}",
        "cudnnGetVersion": f"unsigned long {{n}}(void){{{{return {major * 10000 + minor * 100 + patch};}}}}",
        "cudnnGetProperty": f"int {{n}}(int t,int*v){{{{*v=t==0?{major}:t==1?{minor}:{patch};return 0;}}}}",
    }
    if name in special:
        return special[name].format(n=name)
    if name.startswith("__cuda"):
        return f"void*{name}(void){{return 0;}}"
    if TEXT_FUNCTION.search(name):
        return f'const char*{name}(void){{return "CUDA stub: no CUDA on this machine";}}'
    return f"long {name}(void){{return 100;}}"  # cudaErrorNoDevice


def compile_stub(library: str, versions: dict[str, set[str]], cudnn: tuple[int, int, int], folder: Path) -> bytes:
    """The bytes of one stub shared object with the soname LIBRARY."""
    source, script, output = folder / "stub.c", folder / "stub.map", folder / library
    names = [name for version in sorted(versions) for name in sorted(versions[version])]
    source.write_text("".join(c_function(name, cudnn) + "\n" for name in names))
    nodes = [
        f"{version} {{ global: {' '.join(f'{name};' for name in sorted(versions[version]))} }};\n"
        for version in sorted(versions)
        if version
    ]
    script.write_text("".join(nodes))
    command = ["gcc", "-O1", "-w", "-fno-builtin", "-shared", "-fPIC", "-nostdlib", "-s", f"-Wl,-soname,{library}"]
    if nodes:
        command.append(f"-Wl,--version-script={script}")
    run(*command, "-o", str(output), str(source))
    return output.read_bytes()


def run(*command: str) -> str:
    # LC_ALL=C: the output of readelf is translated otherwise
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def main(site_packages: str, out: str) -> None:
    root = Path(site_packages)
    found = re.search(r"__version__ = '([^'+]+)", (root / "torch" / "version.py").read_text())
    if not found:
        sys.exit(f"no torch in {root}")
    version = found[1]
    metadata = (root / f"torch-{version}.dist-info" / "METADATA").read_text()
    pinned = re.search(r"nvidia-cudnn-cu\d+==(\d+)\.(\d+)\.(\d+)", metadata)
    if not pinned:
        sys.exit(f"torch {version} names no cuDNN: it is not a CUDA build and needs no stubs")
    cudnn = (int(pinned[1]), int(pinned[2]), int(pinned[3]))
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for library, versions in sorted(read_symbols(root / "torch" / "lib").items()):
            # torch's run path looks here for the nvidia packages' libraries
            files[f"nvidia/cu13/lib/{library}"] = compile_stub(library, versions, cudnn, Path(folder))
            print(library, sum(len(names) for names in versions.values()), "symbols")
    summary = [f"Summary: stub CUDA libraries for torch {version} on a machine without a GPU"]
    print(write_wheel(Path(out), "torch_cuda_stubs", version, "py3-none-linux_x86_64", summary, files))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
