#!/usr/bin/env bash
# On the GPU machine: takes parts, unpacks each at once, and at the end makes the environment of check.py.
#
#   receive.sh part FILE...   verify and unpack parts (any order; a part that is already there is skipped)
#   receive.sh status         which parts are there
#   receive.sh finish PROJECT join cut files, write $FW/env.sh, compile bytecode, start the import of the model (goes on beside)
#
# FW (default /tmp/fw) is outside the copied tree, so that it outlives the next copy. Needs python3 (3.12) only.
set -euo pipefail
export FW=${FW:-/tmp/fw} KIT
KIT=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$FW/parts"
case ${1:-} in
part|status)
  python3 - "$@" <<'PY'
import hashlib, io, json, lzma, os, sys, tarfile, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

fw, kit = Path(os.environ["FW"]), Path(os.environ["KIT"])
places = [kit, *(Path(a).parent for a in sys.argv[2:3]), fw]  # pack.py writes it beside the parts
found = next((p / "manifest.json" for p in places if (p / "manifest.json").is_file()), None)
if found is None:
    sys.exit("no manifest.json beside the kit or the parts")
manifest = json.loads(found.read_text())
(fw / "manifest.json").write_text(json.dumps(manifest))
known = {p["name"]: p for p in manifest["parts"]}

def there(name):
    mark = fw / "parts" / name
    return mark.exists() and mark.read_text() == known[name]["sha256"]

def unpack(job):
    name, data, digest = job
    if hashlib.sha256(data).hexdigest() != digest:
        raise SystemExit(f"{name}: damaged")
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(data))) as archive:
        archive.extractall(fw, filter="data")

started, failed = time.monotonic(), 0
for file in map(Path, sys.argv[2:]):
    entry = known.get(file.name)
    if entry is None:
        print(f"{file}: not in manifest.json", file=sys.stderr); failed = 1; continue
    if there(file.name):
        print(f"{file.name}: already there"); continue
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry["sha256"]:
        print(f"{file.name}: {len(data)} bytes with sha256 {digest}, expected {entry['size']} and {entry['sha256']}: send it again", file=sys.stderr); failed = 1; continue
    with tarfile.open(fileobj=io.BytesIO(data)) as outer:
        jobs = [(m.name, outer.extractfile(m).read(), entry["bundles"][m.name]) for m in outer if m.isfile()]
    with ProcessPoolExecutor(min(len(jobs), os.cpu_count() or 1)) as pool:
        list(pool.map(unpack, jobs))
    (fw / "parts" / file.name).write_text(digest)
    print(f"{file.name}: {len(data) / 1e6:.1f} MB unpacked, {time.monotonic() - started:.1f} s")
missing = [n for n in known if not there(n)]
print("missing:", " ".join(missing) or "none", flush=True)
sys.exit(failed)
PY
  ;;
finish)
  started=$SECONDS
  python3 - <<'PY'
import json, os, shutil
from pathlib import Path
fw = Path(os.environ["FW"])
manifest = json.loads((fw / "manifest.json").read_text())
missing = [p["name"] for p in manifest["parts"] if not (fw / "parts" / p["name"]).exists()]
if missing:
    raise SystemExit("missing: " + " ".join(missing))
for path, count in manifest["cut"].items():
    target = fw / path
    if target.exists():
        continue
    pieces = [fw / f"{path}.~{n:03d}" for n in range(count)]
    whole = target.with_name(target.name + ".part")
    with whole.open("wb") as out:
        for piece in pieces:
            with piece.open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 22)
    os.chmod(whole, 0o755)
    whole.rename(target)
    for piece in pieces:
        piece.unlink()
size = sum(p.stat().st_size for top in ("site", "gguf") for p in (fw / top).rglob("*") if p.is_file() and "__pycache__" not in p.parts)
print(f"unpacked {size / 1e6:.0f} MB, expected {manifest['unpacked'] / 1e6:.0f}")
PY
  mkdir -p "$FW/home" "$FW/tmp"
  # without a network Ray takes the address that the host's own name resolves to
  getent hosts "$(hostname)" >/dev/null || echo "127.0.0.1 $(hostname)" >>/etc/hosts || true
  cat > "$FW/env.sh" <<SH
export FW=$FW HOME=$FW/home TMPDIR=$FW/tmp PYTHONPATH=$FW/site PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=true
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_HOME=$FW/home/hf VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 RAY_USAGE_STATS_ENABLED=0 WANDB_MODE=disabled
export VLLM_HOST_IP=127.0.0.1 GLOO_SOCKET_IFNAME=lo NCCL_SOCKET_IFNAME=lo
export PATH=$(dirname "$(command -v python3)"):\$PATH
command -v nvcc >/dev/null || [ ! -x /usr/local/cuda/bin/nvcc ] || export PATH=\$PATH:/usr/local/cuda/bin
SH
  . "$FW/env.sh"
  # FlashInfer's sampler includes curand.h: a toolkit of compilers alone has it not, the nvidia-curand wheel has
  python3 - >>"$FW/env.sh" <<'PY' || true
import shutil, sysconfig
from pathlib import Path
nvcc = shutil.which("nvcc")
if nvcc:
    root = Path(nvcc).resolve().parent.parent
    wheels = Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13" / "include"
    if not any(root.glob("**/curand.h")) and (wheels / "curand.h").exists():
        print(f"export CPATH={wheels} FW_CURAND=from-the-wheel")
PY
  . "$FW/env.sh"
  project=$(cd "${2:-.}" && pwd)
  if [ ! -e "$FW/model/done" ]; then
    rm -f "$FW/model.failed"
    setsid nohup bash -c "PYTHONPATH=\$PYTHONPATH:$(dirname "$KIT") python3 -m gpu.model '$project' '$FW/gguf' '$FW/model' >'$FW/model.log' 2>&1 || touch '$FW/model.failed'" >/dev/null 2>&1 &
  fi
  timeout 60 python3 -m compileall -qq -j "$(nproc)" "$FW/site" >"$FW/compile.log" 2>&1 || true
  echo "finished in $((SECONDS - started)) s"
  ;;
*)
  sed -n '2,8p' "$0"; exit 2 ;;
esac
