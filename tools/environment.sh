#!/bin/sh
# Makes or refreshes the virtual environment that the Makefile's commands run in.
#
#   tools/environment.sh demo    what 'make demo' needs
#   tools/environment.sh dev     what 'make test' and everything else needs
#
# PYTHON chooses the interpreter; VENV the folder (default .venv). uv is used when it is there, else plain pip.
# Everything is installed from requirements/*.txt, pinned and checked by hash, never resolved anew.
set -eu

want=${1:?demo or dev}
venv=${VENV:-.venv}
pins=requirements/$want.txt

say() { printf '%s\n' "trustbind: $*"; }
stop() {
    printf '%s\n' "trustbind: $*" >&2
    exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || stop "PYTHON=$PYTHON is not Python 3.11 or later"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if is_new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    found=$(python3 --version 2>&1 || printf 'no python3')
    stop "Python 3.11 or later is needed (found: $found). Install one, or say 'make $want PYTHON=/path/to/python'."
}

# What the environment holds is written into it; when that is what is wanted, there is nothing to do.
stamp() { cat "$pins" pyproject.toml | cksum | tr -d ' \n'; }
wanted="$want $(stamp)"
held=$(cat "$venv/.trustbind" 2>/dev/null || true)
if [ "$held" = "$wanted" ]; then
    exit 0
fi
# The larger environment serves the smaller wish.
if [ "$want" = demo ] && [ "$held" = "dev $(cat requirements/dev.txt pyproject.toml | cksum | tr -d ' \n')" ]; then
    exit 0
fi

python=$(find_python)
say "setting up $venv with $("$python" --version) (once; about a minute)"
rm -f "$venv/.trustbind"
if command -v uv >/dev/null 2>&1; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --python "$python" "$venv"
    say "installing the pinned packages with uv"
    uv pip sync --quiet --python "$venv/bin/python" --require-hashes "$pins"
    uv pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
else
    if ! [ -x "$venv/bin/pip" ]; then
        rm -rf "$venv"
        "$python" -m venv "$venv" || stop "'$python -m venv' failed; on Debian and Ubuntu, install the package python3-venv"
    fi
    say "installing the pinned packages with pip (no uv here)"
    # pip numbers its progress by package; quiet would look like a hang on a slow line.
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-deps --require-hashes --progress-bar off \
        -r "$pins" | sed -n 's/^Collecting \([^ ]*\).*/  \1/p'
    "$venv/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
fi
"$venv/bin/python" -c 'import trustbind_cli.main' || stop "the environment in $venv is broken; remove the folder and try again"
printf '%s' "$wanted" >"$venv/.trustbind"
say "$venv is ready"
