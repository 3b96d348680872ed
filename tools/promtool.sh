#!/bin/sh
# Fetches promtool, which checks the alerts: from Debian's package prometheus, unpacked and not installed, so that no
# server starts. Prints its path; exit code 1 where it is not to be had.
#
# It goes into $TRUSTBIND_CACHE, else ~/.cache/trustbind.
set -eu

if found=$(command -v promtool); then
    echo "$found"
    exit
fi
target=${TRUSTBIND_CACHE:-$HOME/.cache/trustbind}/prometheus
if [ ! -x "$target/usr/bin/promtool" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    chmod 755 "$work" # apt downloads as a user of its own
    { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; } >&2 || {
        echo "promtool is not here, and apt-get cannot fetch Debian's package prometheus" >&2
        exit 1
    }
    mkdir -p "$target"
    dpkg-deb -x prometheus_*.deb "$target"
fi
echo "$target/usr/bin/promtool"
