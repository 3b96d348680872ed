#!/bin/sh
# Adds atheris to the virtual environment, for 'make fuzz'. Where it cannot be installed, fuzzing goes on without it.
set -eu

python=${VENV:-.venv}/bin/python
pins=requirements/fuzz.txt

if "$python" -c 'import atheris' 2>/dev/null; then
    exit 0
fi
if command -v uv >/dev/null 2>&1; then
    uv pip install --quiet --python "$python" --no-deps --require-hashes --requirement "$pins" && exit 0
else
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement "$pins" && exit 0
fi
echo 'trustbind: atheris cannot be installed here; inputs are chosen without a look at branches' >&2
