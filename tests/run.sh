#!/usr/bin/env bash
# Set up and run all checks and tests; arguments go to pytest: tests/run.sh -k broker
set -eu

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=.venv/bin

say() {
    printf '%s\n' "$*" >&2
}

has_chromium() {
    command -v chromium || command -v chromium-browser || command -v google-chrome ||
        [ -x "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ] ||
        [ -x "/Applications/Chromium.app/Contents/MacOS/Chromium" ]
}

has_postgresql() {
    local found
    command -v initdb && return
    for found in /usr/lib/postgresql/*/bin/initdb /opt/homebrew/opt/postgresql*/bin/initdb \
        /usr/local/opt/postgresql*/bin/initdb; do
        [ -x "$found" ] && return
    done
    return 1
}

system_package() { # what it is for, Debian's name, brew's arguments
    say "$2 is missing: installing it for $1"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2" >/dev/null
    elif command -v brew >/dev/null; then
        # shellcheck disable=SC2086
        brew install --quiet $3
    else
        say "cannot install it here; $1 will fail. Install it: sudo apt-get install $2"
    fi || say "could not install $2; $1 will fail"
}

failed=""
step() { # name, command ...
    local name=$1
    shift
    say "== $name"
    "$@" || failed="$failed $name"
}

notebooks() {
    local found
    found=$(find notebooks -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')
    [ -z "$found" ] || printf '%s\n' "$found" | tr '\n' '\0' | xargs -0 "$bin/nbstripout" --verify
}

./panel_serve.sh --setup-only --dev
has_chromium >/dev/null || system_package "the browser tests" chromium "--cask chromium"
has_postgresql >/dev/null || system_package "the tests on PostgreSQL" postgresql postgresql

step ruff "$bin/ruff" check .
step format "$bin/ruff" format --check .
step codespell "$bin/codespell"
step mypy "$bin/mypy"
step imports "$bin/lint-imports"
step notebooks notebooks
step pytest "$bin/python" -m pytest "$@"

if [ -n "$failed" ]; then
    say "failed:$failed"
    exit 1
fi
say "all passed"
