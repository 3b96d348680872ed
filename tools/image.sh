#!/bin/sh
# Builds the image and tries it, without a daemon and without a registry.
#
#   tools/image.sh base     make a base image from Debian's packages, where none can be pulled (needs debootstrap, root)
#   tools/image.sh build    build the Dockerfile
#   tools/image.sh test     run both halves with a read-only root, as user 65532, without capabilities
#
# IMAGE: name and tag of the result. PYTHON_IMAGE: the base, by default what the Dockerfile says.
# Needs buildah; where docker is at hand, `docker build .` does as well as `tools/image.sh build`.
set -eu
cd "$(dirname "$0")/.."

image=${IMAGE:-trustbind/trustbind:local}
base=${PYTHON_IMAGE:-$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)}
isolation=${BUILDAH_ISOLATION:-chroot}
driver=${STORAGE_DRIVER:-overlay}

say() { printf '%s\n' "trustbind: $*"; }
stop() {
    printf '%s\n' "trustbind: $*" >&2
    exit 1
}
need() { command -v "$1" >/dev/null 2>&1 || stop "$1 is needed ($2)"; }
builder() { buildah --storage-driver "$driver" "$@"; }

make_base() {
    need debootstrap "apt-get install debootstrap"
    need buildah "apt-get install buildah"
    if builder inspect --type image "$base" >/dev/null 2>&1; then
        say "the base $base is there"
        return
    fi
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # trixie's own Python is the one that the Dockerfile's base has.
    debootstrap --variant=minbase --include=python3,python3-venv,python-is-python3,ca-certificates \
        trixie "$work/tree" >"$work/log" 2>&1 || stop "debootstrap failed: $(tail -n 3 "$work/log")"
    rm -rf "$work"/tree/var/lib/apt/lists/* "$work"/tree/var/cache/apt/* "$work"/tree/usr/share/doc/* \
        "$work"/tree/usr/share/locale/* "$work"/tree/usr/share/man/*
    container=$(builder from scratch)
    builder add --quiet "$container" "$work/tree" / >/dev/null
    builder commit --quiet --rm "$container" "$base" >/dev/null
    say "made the base $base from Debian's packages"
}

build() {
    need buildah "apt-get install buildah"
    version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' core/trustbind/__init__.py)
    revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
    set -- --build-arg "PYTHON_IMAGE=$base" --build-arg "VERSION=$version" --build-arg "REVISION=$revision"
    # The authorities that this machine trusts: a package index may be behind one of its own.
    if [ -n "${SSL_CERT_FILE:-}" ]; then
        set -- "$@" --volume "$SSL_CERT_FILE:/etc/ssl/certs/ca-certificates.crt:ro"
    fi
    # A fixed time, so that two builds of the same commit are the same.
    builder bud --isolation "$isolation" --pull-never --layers --timestamp "$(git log -1 --format=%ct 2>/dev/null || echo 0)" \
        "$@" --tag "$image" .
    say "built $image"
}

case ${1:-} in
    base) make_base ;;
    build) build ;;
    test)
        shift
        exec "${PYTHON:-python3}" -m pytest -q -m image tests/image "$@"
        ;;
    *) stop "say base, build or test" ;;
esac
