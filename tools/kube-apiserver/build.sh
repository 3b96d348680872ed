#!/usr/bin/env bash
# Finds or builds the kube-apiserver and kube-controller-manager that the cluster tests run against.
#
# Looks in $KUBEBUILDER_ASSETS, in /usr/local/kubebuilder/bin and in the cache
# (${TRUSTBIND_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trustbind}/kubebuilder-<version>), in this order; the first folder
# that holds both is used, as it is. Where there is none, what is missing from the cache is built with Go from the
# versions in go.mod: about 10 minutes on two cores the first time, seconds afterwards.
#
# What is done is told on standard error; standard output has one line, the folder. tests/support/kube.py looks in the
# same places.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binaries=(kube-apiserver kube-controller-manager)

say() { printf 'kube-apiserver: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# required MODULE: the version of it that go.mod requires, without the v.
required() { awk -v module="$1" '$1 == "require" { $1 = ""; $0 = $0 } $1 == module { print substr($2, 2); exit }' "$here/go.mod"; }

version=$(required k8s.io/kubernetes)
[ -n "$version" ] || die "$here/go.mod does not require k8s.io/kubernetes"

# missing_from FOLDER: the binaries that it does not hold.
missing_from() {
  local name
  for name in "${binaries[@]}"; do
    [ -x "$1/$name" ] || printf '%s\n' "$name"
  done
}

cache=${TRUSTBIND_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trustbind}/kubebuilder-$version
for folder in ${KUBEBUILDER_ASSETS:+"$KUBEBUILDER_ASSETS"} /usr/local/kubebuilder/bin "$cache"; do
  missing=$(missing_from "$folder" | paste -s -d ' ' -)
  if [ -z "$missing" ]; then
    say "found in $folder"
    printf '%s\n' "$folder"
    exit 0
  fi
  if [ "$folder" = "${KUBEBUILDER_ASSETS:-}" ]; then
    say "KUBEBUILDER_ASSETS is $folder, which lacks: $missing; looking further"
  fi
done

needed=$(awk '$1 == "go" { print $2; exit }' "$here/go.mod")
command -v go >/dev/null || die "Go $needed or later is needed to build Kubernetes $version; install it, or set KUBEBUILDER_ASSETS"
# Asked outside of the module, and of the installed Go, so that the answer is not a toolchain that it would fetch.
have=$(cd / && GOTOOLCHAIN=local go env GOVERSION)
have=${have#go}
if [ "$(printf '%s\n' "$needed" "${have%%[ -]*}" | sort -V | head -n 1)" != "$needed" ]; then
  die "Go $needed or later is needed to build Kubernetes $version, and this one is $have; install it, or set KUBEBUILDER_ASSETS"
fi

mkdir -p "$cache"
mapfile -t missing < <(missing_from "$cache")
for name in "${missing[@]}"; do
  say "building $name $version into $cache (minutes the first time)"
  partial=$cache/.$name.$$
  trap 'rm -f "$partial"' EXIT
  # Without the version the server calls itself v0.0.0-master, and clients that ask for it are misled.
  (cd "$here" && CGO_ENABLED=0 go build -trimpath \
    -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$version" \
    -o "$partial" "k8s.io/kubernetes/cmd/$name") || die "building $name failed; what Go says about it is above"
  mv "$partial" "$cache/$name"
done
say "built in $cache"
printf '%s\n' "$cache"
