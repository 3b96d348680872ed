#!/usr/bin/env bash
# Installs the engine that 'make crosscheck' asks: iam-simulate, pinned and checked by hash in package-lock.json.
#
#   tools/crosscheck/prepare.sh           install it, once
#   tools/crosscheck/prepare.sh --where   print its folder, whether it is there or not
#
# It stands in a folder of the cache (${TRUSTBIND_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trustbind}), outside of the
# checkout, that is named after the content of the files here.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${TRUSTBIND_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trustbind}
sum=$(cat "$here/package.json" "$here/package-lock.json" | cksum)
place=$cache/crosscheck-${sum%% *}

if [ "${1:-}" = --where ]; then
  printf '%s\n' "$place"
  exit
fi
[ ! -e "$place/.ready" ] || exit 0
for program in node npm; do
  command -v "$program" >/dev/null || {
    printf 'crosscheck: %s is needed, and is not here\n' "$program" >&2
    exit 1
  }
done
printf 'crosscheck: installing iam-simulate into %s\n' "$place" >&2
# What a broken-off attempt left has no .ready, and goes.
rm -rf "$place" && mkdir -p "$place"
cp "$here/package.json" "$here/package-lock.json" "$place"
# From the lock file alone, which has every package's hash; no package may run anything.
(cd "$place" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
: >"$place/.ready"
