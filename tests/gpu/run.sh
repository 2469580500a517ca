#!/usr/bin/env bash
# One call on the GPU machine: takes the parts that came along; when all are there, makes the environment and checks.
#
#   run.sh PROJECT OUT [PART...] [-- ARGUMENTS OF check.py]
#
# While parts are missing it says which and ends with 0. OUT gets results.json, table.txt and logs.txt.
set -euo pipefail
export FW=${FW:-/tmp/fw}
kit=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$1" && pwd); out=$2; shift 2
parts=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do parts+=("$1"); shift; done
[ $# -eq 0 ] || shift
missing=$(bash "$kit/receive.sh" part "${parts[@]}" | tee /dev/stderr | sed -n 's/^missing: //p')
[ "$missing" = none ] || exit 0
[ -e "$FW/finished" ] || { bash "$kit/receive.sh" finish "$project" && touch "$FW/finished"; }
. "$FW/env.sh"
export PYTHONPATH="$PYTHONPATH:$(dirname "$kit")"  # the kit is the package `gpu`
exec python3 -m gpu.check --project "$project" --out "$out" "$@"
