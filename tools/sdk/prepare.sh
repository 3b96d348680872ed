#!/usr/bin/env bash
# Installs the AWS SDKs that 'make test-sdk' runs, besides boto3: the AWS CLI v1, and those for JavaScript v3 and Go v2.
#
#   tools/sdk/prepare.sh                all of them; once, then nothing is left to do
#   tools/sdk/prepare.sh go ...         only these: aws-cli, javascript, go
#   tools/sdk/prepare.sh --where go     print the folder of one, whether it is there or not
#
# Each stands in a folder of the cache (${TRUSTBIND_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trustbind}) that is named after
# the content of the files here, so other versions get another folder. Everything is pinned and checked by hash:
# aws-cli.txt, javascript/package-lock.json, go/go.sum. One that cannot be installed is told and does not hold up the
# others; the exit code is then 1.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${TRUSTBIND_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trustbind}
all=(aws-cli javascript go)

say() { printf 'sdk: %s\n' "$*" >&2; }

# inputs NAME: the files that decide what is installed, one a line.
inputs() {
  case $1 in
    aws-cli) printf '%s\n' aws-cli.txt ;;
    javascript) printf '%s\n' javascript/package.json javascript/package-lock.json javascript/whoami.mjs ;;
    go) printf '%s\n' go/go.mod go/go.sum go/main.go ;;
  esac
}

# known NAME: whether there is such a one; says so when not.
known() {
  [ -n "$(inputs "$1")" ] || {
    say "there is no '$1' here; there are: ${all[*]}"
    return 2
  }
}

# folder NAME: where it stands.
folder() {
  local sum
  sum=$(inputs "$1" | while read -r file; do cat "$here/$file"; done | cksum)
  printf '%s/sdk-%s-%s\n' "$cache" "$1" "${sum%% *}"
}

needs() {
  command -v "$1" >/dev/null || {
    say "$1 is needed for $2, and is not here"
    return 1
  }
}

# The functions below fill the folder that they are given. Their steps are joined by && because errexit is off in them:
# whoever calls them looks at what they return.

install_aws_cli() {
  local python=${PYTHON:-python3}
  if command -v uv >/dev/null; then
    uv venv --quiet --python "$python" "$1/venv" &&
      uv pip sync --quiet --python "$1/venv/bin/python" --require-hashes "$here/aws-cli.txt"
  else
    needs "$python" "the AWS CLI" &&
      "$python" -m venv "$1/venv" &&
      "$1/venv/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes \
        -r "$here/aws-cli.txt"
  fi && "$1/venv/bin/aws" --version >&2
}

install_javascript() {
  needs node "the SDK for JavaScript" &&
    needs npm "the SDK for JavaScript" &&
    cp "$here"/javascript/package.json "$here"/javascript/package-lock.json "$here"/javascript/whoami.mjs "$1" &&
    # From the lock file alone, which has every package's hash; no package may run anything.
    (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
}

install_go() {
  needs go "the SDK for Go" &&
    (cd "$here/go" && CGO_ENABLED=0 go build -mod=readonly -buildvcs=false -trimpath -o "$1/whoami" .)
}

# install NAME FOLDER
install() {
  case $1 in
    aws-cli) install_aws_cli "$2" ;;
    javascript) install_javascript "$2" ;;
    go) install_go "$2" ;;
  esac
}

# prepare NAME: install it, unless it is there.
prepare() {
  local place
  known "$1" || return
  place=$(folder "$1")
  if [ -e "$place/.ready" ]; then
    say "$1 is in $place"
    return
  fi
  say "installing $1 into $place"
  # What a broken-off attempt left has no .ready, and goes.
  rm -rf "$place" && mkdir -p "$place" && install "$1" "$place" && : >"$place/.ready" && return
  say "installing $1 failed; what there is to say about it is above"
  return 1
}

if [ "${1:-}" = --where ]; then
  known "${2:-}"
  folder "$2"
  exit
fi
failed=0
for name in "${@:-${all[@]}}"; do
  prepare "$name" || failed=1
done
exit "$failed"
