#!/bin/sh
# Build time only: makes /opt/venv from a hashed lock. usage: install-env.sh LOCK [FOLDER_WITH_LOCAL_WHEELS]
#
# What is private to the building machine (a CA bundle, mirrors) comes as build secrets, mounted for this one step:
#   /run/secrets/ca         PEM bundle to trust instead of the image's own
#   /run/secrets/build-env  shell lines that export package-index settings
# /uvcache is a cache mount: a second build downloads nothing, and none of it is in a layer.
set -eu
lock=$1
wheels=${2:-}
here=$(dirname "$0")
if [ -s /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca PIP_CERT=/run/secrets/ca; fi
if [ -s /run/secrets/build-env ]; then . /run/secrets/build-env; fi
export UV_CACHE_DIR=/uvcache UV_LINK_MODE=copy UV_NO_CONFIG=1 PIP_DISABLE_PIP_VERSION_CHECK=1

python3 -m venv /tmp/uv
/tmp/uv/bin/pip install -q --no-cache-dir --require-hashes -r "$here/uv.txt"
uv=/tmp/uv/bin/uv
$uv venv -q --python /usr/bin/python3 /opt/venv
$uv pip install -q --python /opt/venv --no-deps --require-hashes -r "$lock"
if [ -n "$wheels" ]; then $uv pip install -q --python /opt/venv --no-deps "$wheels"/*.whl; fi
rm -rf /tmp/uv

# The root file system is read-only at run time, so bytecode is written now or never: `import vllm` takes 9 s with it and
# 17 s without, in each of about ten processes. Unchecked, because nothing ever edits these files; the exit status is
# ignored because some packages ship files for other Python versions that cannot compile.
[ -n "${SKIP_BYTECODE:-}" ] || /opt/venv/bin/python -m compileall -qq -j 0 --invalidation-mode unchecked-hash /opt/venv/lib/python3.11/site-packages || true
