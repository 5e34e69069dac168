# Where everything lies. Sourced by the other scripts, which stand in the project's root.
# shellcheck shell=bash

# What is fetched or built once and may be thrown away.
export AHUAL_CACHE=${AHUAL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ahual}

# A fresh clone in CI starts with the last run's dependencies.
if [[ ${CI:-} == true ]]; then
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$AHUAL_CACHE/target}
  export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
fi
TARGET=${CARGO_TARGET_DIR:-target}

# Real data, beside the checkout unless said otherwise. Absolute, since tests run in their
# crate's folder and a configuration's paths start at its own.
if [[ -d ${AHUAL_SHARED:-../shared} ]]; then
  AHUAL_SHARED=$(cd "${AHUAL_SHARED:-../shared}" && pwd)
  export AHUAL_SHARED
fi

# One environment per content of its requirements, so that checkouts of different ages do not fight over it.
environment_of() {
  echo "$AHUAL_CACHE/python/$(basename "$1" .txt)-$(sha256sum <"$1" | cut -c 1-12)"
}
TESTS_ENVIRONMENT=$(environment_of tests/python/requirements.txt)
CHECKS_ENVIRONMENT=$(environment_of scripts/checks.txt)
# The Python that tests and benchmarks call.
export AHUAL_PYTHON=${AHUAL_PYTHON:-$TESTS_ENVIRONMENT/bin/python}

# Runs "$@" and keeps its minutes under the name $1 for print_minutes. Goes on after a
# failure, so that one run shows everything that is wrong.
MINUTES=()
FAILED=()
timed() {
  local name=$1 begun=$SECONDS outcome=ok
  shift
  printf '\n── %s\n' "$name"
  "$@" || { outcome=FAILED; FAILED+=("$name"); }
  MINUTES+=("$(printf '%7s  %-6s  %s' "$(in_minutes $((SECONDS - begun)))" "$outcome" "$name")")
}

# Whole seconds as minutes with one decimal.
in_minutes() {
  echo "$(($1 / 60)).$(($1 % 60 / 6))"
}

print_minutes() {
  printf '\n%s, minutes:\n' "$1"
  printf '%s\n' "${MINUTES[@]}"
}
