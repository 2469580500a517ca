#!/usr/bin/env bash
# Regenerates the hashed requirement locks of images/locks, or checks them.
#
#   images/lock.sh            write all locks (keeps what is locked where it still fits; UPGRADE=1 takes the newest)
#   images/lock.sh check      every lock still resolves from its inputs to exactly what is written; changes nothing;
#                             asked once a day: what resolved from the same files today is not asked again
#
# The locks carry sha256 hashes and no addresses: no index, no find-links folder, no machine path, no header.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-uv}
mode=${1:-write}
# One platform for every lock: the images' (Debian 12, glibc 2.36, x86_64, Python 3.11), not this machine's.
common=(--quiet --no-sources --python-version 3.11 --python-platform x86_64-manylinux_2_36
        --generate-hashes --no-header --no-annotate)
unset UV_FIND_LINKS PIP_FIND_LINKS UV_EXTRA_INDEX_URL

resolve() { # resolve NAME OUT ARGS...: runs the resolver, OUT's present content being the preference
  local name=$1 out=$2
  shift 2
  case $name in
    dev)         "$uv" pip compile "${common[@]}" "$@" -o "$out" pyproject.toml --extra operator --extra jobs --extra dev ;;
    # the versions that the tests ran with
    operator)    "$uv" pip compile "${common[@]}" "$@" -o "$out" pyproject.toml --extra operator --constraint images/locks/dev.txt ;;
    jobs)        "$uv" pip compile "${common[@]}" "$@" -o "$out" pyproject.toml --extra jobs --constraint images/locks/dev.txt ;;
    ray-cpu)     "$uv" pip compile "${common[@]}" "$@" -o "$out" pyproject.toml --extra jobs images/locks/ray-cpu.in \
                   --override images/locks/ray-cpu.overrides.in --excludes images/locks/ray-cpu.excludes.in \
                   --excludes images/locks/cuda-libraries.excludes.in ;;
    # the same versions with torch's real CUDA libraries (build argument CUDA_LIBRARIES=real)
    ray-cpu-real) "$uv" pip compile "${common[@]}" "$@" -o "$out" pyproject.toml --extra jobs images/locks/ray-cpu.in \
                   --override images/locks/ray-cpu.overrides.in --excludes images/locks/ray-cpu.excludes.in \
                   --constraint images/locks/ray-cpu.txt ;;
    llama-cpp)   "$uv" pip compile "${common[@]}" "$@" --no-deps -o "$out" images/locks/llama-cpp.in ;;
    mlflow)      "$uv" pip compile "${common[@]}" "$@" -o "$out" images/locks/mlflow.in ;;
    trackio)     "$uv" pip compile "${common[@]}" "$@" -o "$out" images/locks/trackio.in ;;
    uv)          "$uv" pip compile "${common[@]}" "$@" -o "$out" images/locks/uv.in ;;
    trainer-gpu) "$uv" pip compile "${common[@]}" "$@" -o "$out" pyproject.toml --extra jobs images/locks/trainer-gpu.in ;;
    rollout-gpu) "$uv" pip compile "${common[@]}" "$@" -o "$out" pyproject.toml --extra jobs images/locks/rollout-gpu.in ;;
  esac
}

upgrade=()
[ -n "${UPGRADE:-}" ] && upgrade=(--upgrade)
asked=$({ date +%F; "$uv" --version; cat images/lock.sh pyproject.toml images/locks/*; } | sha256sum)
found=${FLYWHEEL_CACHE:-$HOME/.cache/flywheel}/lock-check
if [ "$mode" = check ] && [ "$(cat "$found" 2>/dev/null)" = "$asked" ]; then
  echo "lock-check: every lock was ok when it was asked today"
  exit 0
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
status=0
for name in uv dev operator jobs ray-cpu ray-cpu-real trainer-gpu rollout-gpu llama-cpp mlflow trackio; do
  lock=images/locks/$name.txt
  if [ "$mode" = check ]; then
    cp "$lock" "$tmp/$name.txt"
    if ! resolve "$name" "$tmp/$name.txt" 2>"$tmp/err"; then
      if grep -qiE 'failed to fetch|error sending request|dns error|connection|timed out|offline' "$tmp/err"; then
        echo "lock-check: skipped, the package registry cannot be reached"
        exit 0
      fi
      echo "lock-check: $lock no longer resolves:" >&2
      cat "$tmp/err" >&2
      status=1
    elif ! cmp -s "$lock" "$tmp/$name.txt"; then
      echo "lock-check: $lock does not match its inputs; run 'make lock' and look at the difference:" >&2
      diff "$lock" "$tmp/$name.txt" | grep -E '^[<>] [a-z]' | head -20 >&2 || true
      status=1
    else
      echo "lock-check: $lock ok ($(grep -c '^[a-z].*==' "$lock") packages)"
    fi
  else
    resolve "$name" "$lock" "${upgrade[@]}"
    echo "wrote $lock ($(grep -c '^[a-z].*==' "$lock") packages)"
  fi
done
[ "$mode" = check ] && [ $status = 0 ] && mkdir -p "$(dirname "$found")" && echo "$asked" >"$found"
exit $status
