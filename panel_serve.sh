#!/usr/bin/env bash
# Set up and start EnMS analytics: ./panel_serve.sh --help
set -eu

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
venv=$root/.venv
stamp=$venv/.enms-stamp # written last: says from which lock, and where, the environment was made

usage() {
    cat <<'TEXT'
usage: ./panel_serve.sh [--setup-only] [--dev] [option of `panel serve` ...]

Makes the environment in .venv if there is none, then starts the broker, the engine, the job
worker, the source and the web server, and keeps them running until Ctrl-C.

  --setup-only   make the environment and stop
  --dev          the environment has what the tests need, too
  --help         this text

What else is given goes to `panel serve`: --port 5010, --address 127.0.0.1, ...
Settings are environment variables (ENMS_HOME, ENMS_SOURCE, ...): README.md lists them.
TEXT
}

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "panel_serve.sh: $*"
    exit 1
}

stamp_of() { # the lock's name
    printf '%s %s' "$(cksum <"$root/$1")" "$root"
}

is_made() { # the locks' names: one of them will do
    local lock
    [ -x "$venv/bin/python" ] && [ -x "$venv/bin/enms" ] && [ -f "$stamp" ] || return 1
    for lock in "$@"; do
        [ "$(cat "$stamp")" = "$(stamp_of "$lock")" ] && return 0
    done
    return 1
}

find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "no Python 3.11 or newer found; install one (Debian: apt-get install python3 python3-venv," \
        "macOS: brew install python@3.13)"
}

make_with_uv() { # python, lock
    uv venv --quiet --python "$1" "$venv"
    uv pip install --quiet --compile-bytecode --python "$venv/bin/python" --require-hashes \
        -r "$root/$2"
    uv pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation -e "$root"
}

make_with_pip() { # python, lock
    "$1" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$1 cannot make environments; install python3-venv (apt-get install python3-venv) or uv"
    "$1" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        -r "$root/$2"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --no-build-isolation -e "$root"
}

make_environment() { # lock
    local python
    python=$(find_python)
    say "Setting up $venv with $("$python" --version); the first time takes some minutes."
    rm -rf "$venv" # perhaps half made, or made elsewhere, or for an older lock
    if command -v uv >/dev/null 2>&1; then
        make_with_uv "$python" "$1"
    else
        make_with_pip "$python" "$1"
    fi
    stamp_of "$1" >"$stamp"
}

setup_only=no
dev=no
while [ $# -gt 0 ]; do
    case $1 in
        --setup-only) setup_only=yes ;;
        --dev) dev=yes ;;
        -h | --help)
            usage
            exit
            ;;
        *) break ;;
    esac
    shift
done

if [ "$dev" = yes ]; then
    is_made requirements-dev.lock || make_environment requirements-dev.lock
else
    is_made requirements.lock requirements-dev.lock || make_environment requirements.lock
fi
[ "$setup_only" = yes ] || exec "$venv/bin/python" -m enms_core run -- "$@"
