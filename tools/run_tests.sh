#!/usr/bin/env bash
# Sets up the environment, checks the style and runs the tests, even if the style check fails.
# Arguments go to pytest: bash tools/run_tests.sh tests/test_packaging.py -x
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export CT_LESION_VENV="${CT_LESION_VENV:-$ROOT/.venv}"
[[ "$CT_LESION_VENV" == /* ]] || CT_LESION_VENV="$PWD/$CT_LESION_VENV"
bash "$ROOT/tools/setup_env.sh"
cd "$ROOT"

# A worker for each core, up to 4. The tests' networks are tiny: more threads would slow them down.
cores="$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)"
workers="$((cores < 4 ? cores : 4))"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

# Tests of the prediction page need a browser; without one they are skipped.
install_browser() {
  if command -v chromedriver >/dev/null && command -v chromium google-chrome >/dev/null; then
    return
  fi
  local packages=(chromium chromium-driver)
  if [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null; then
    echo "run_tests: installing ${packages[*]} for the tests of the prediction page"
    export DEBIAN_FRONTEND=noninteractive
    { timeout 120 apt-get update &&
      timeout 600 apt-get install -y --no-install-recommends "${packages[@]}"; } \
      >/dev/null 2>&1 </dev/null && return
  fi
  echo "run_tests: cannot install a browser (${packages[*]}): tests of the prediction page are skipped"
}
install_browser

python="$CT_LESION_VENV/bin/python"
status=0
"$python" -m ruff check . || status=1
"$python" -m ruff format --check . || status=1
((status == 0)) || echo "run_tests: ruff found faults (above); running the tests anyway"
# last, so that the output ends with pytest's summary; its exit code 5 (no test found) is a failure
# loadfile: the tests of a file share its fixtures, so they run in one worker. The order is that of
# tests/conftest.py, the slowest files first.
"$python" -m pytest -n "$workers" --dist loadfile --no-loadscope-reorder --durations=5 "$@" || status=$?
exit "$status"
