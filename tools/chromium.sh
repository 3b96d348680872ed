#!/bin/sh
# Finds Chromium, in which the page of `trustbind graph` is tried, or installs Debian's package. Prints its path; exit
# code 1 where it is not to be had.
set -eu

for name in chromium chromium-browser google-chrome; do
    if found=$(command -v "$name"); then
        echo "$found"
        exit
    fi
done
install() { apt-get install -y --no-install-recommends chromium; }
{ install || { apt-get update && install; }; } >&2 || {
    echo "Chromium is not here, and apt-get cannot install Debian's package chromium" >&2
    exit 1
}
command -v chromium
