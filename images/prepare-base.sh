#!/bin/sh
# Build time only: the Debian packages that an image needs and its base lacks, and the user 10001.
# usage: prepare-base.sh HOME PACKAGE...      (does nothing for what is there already)
set -eu
home=$1
shift
missing=
for p in "$@"; do
  dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
if [ -n "$missing" ]; then
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
  rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
fi
python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "the base image must bring Python 3.11 (Debian 12 does)" >&2; exit 1; }
# getpass, torch and Ray ask for the user's name; the number alone is not enough
if ! grep -q ':10001:' /etc/passwd; then
  echo "flywheel:x:10001:10001:flywheel:$home:/bin/bash" >> /etc/passwd
  echo 'flywheel:x:10001:' >> /etc/group
fi
mkdir -p "$home" /opt/flywheel/app
chown 10001:10001 "$home"
