#!/usr/bin/env bash
# Builds the virtual environment that ct_lesion is developed and tested in: see --help.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${CT_LESION_VENV:-$ROOT/.venv}"
[[ "$VENV" == /* ]] || VENV="$PWD/$VENV"
PY="$VENV/bin/python"
STATE="$VENV/.ct_lesion"
OURS="$STATE/ours"   # this script made the venv, so it may change and rebuild it
STAMP="$STATE/stamp" # the installation is complete: a checksum of the files it was made from
LOG="$STATE/setup.log"
NEED_GB=8
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

usage() {
  cat <<TEXT
usage: bash tools/setup_env.sh [--help]

Builds the virtual environment .venv in the checkout: the versions pinned in requirements.txt,
ct_lesion in editable mode, and Detectron2 unless one can be imported already. It takes a few
minutes and about 6 GB the first time, and less than a second when nothing has changed. After an
interruption, the next run starts again.

  CT_LESION_VENV=DIR  build the environment in DIR instead of .venv
  PYTHON=PROGRAM      the Python (3.11 to 3.13) that makes the environment

An environment that you made yourself is never changed. To install ct_lesion into it:
  pip install -e .
  python tools/install_detectron2.py
TEXT
}

say() { printf '%s\n' "$*"; }
fail() {
  printf 'setup_env: %s\n' "$*" >&2
  exit 1
}

python_version() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }

# Sets BASE_PYTHON: the first Python of a suitable version that can make virtual environments.
choose_python() {
  local name version found="" without_venv="" names=(python3 python3.12 python3.11 python3.13)
  [[ -z "${PYTHON:-}" ]] || names=("$PYTHON")
  for name in "${names[@]}"; do
    version="$(python_version "$name")" || continue # not installed, or a broken shim
    found+="${found:+, }$name is $version"
    [[ "$version" =~ ^3\.(11|12|13)\. ]] || continue
    "$name" -c 'import venv, ensurepip' 2>/dev/null && BASE_PYTHON="$name" && return
    without_venv="${without_venv:-$name ($version)}"
  done
  [[ -z "$without_venv" ]] || fail "$without_venv has no venv and ensurepip modules:" \
    "install them (Debian, Ubuntu: apt install python3-venv) or set PYTHON to another Python"
  fail "no suitable Python: 3.11 to 3.13 is needed, found ${found:-none (tried ${names[*]})};" \
    "install one or set PYTHON=/path/to/python3"
}

# The space that an unfinished installation occupies is counted as free.
require_disk() {
  local place="$VENV" free used=0
  while [[ ! -d "$place" ]]; do place="$(dirname "$place")"; done
  free="$(df -Pk "$place" | awk 'NR == 2 { print $4 }')"
  [[ ! -d "$VENV" ]] || used="$(du -sk "$VENV" | awk '{ print $1 }')"
  ((free + used >= NEED_GB * 1024 * 1024)) || fail "$((free / 1024 / 1024)) GB free in $place," \
    "$NEED_GB GB needed for torch and its libraries: free some space," \
    "or set CT_LESION_VENV to a folder on another disk"
}

checksum() {
  (cd "$ROOT" && cat requirements.txt setup.py ct_lesion/version.py tools/setup_env.sh \
    tools/install_detectron2.py && pwd) | cksum
}

# Without pip, the venv belongs to a Python that has been removed or upgraded.
is_complete() { [[ -e "$STAMP" ]] && "$PY" -c 'import pip' 2>/dev/null; }

# Packages are checked too, because the user may have changed some.
is_up_to_date() {
  is_complete && [[ "$(<"$STAMP")" == "$(checksum)" ]] && "$PY" -P - "$ROOT" 2>/dev/null <<'PYTHON'
import sys
from importlib import metadata, util
root = sys.argv[1]
pins = [line.split("==") for line in open(f"{root}/requirements.txt") if "==" in line]
assert all(metadata.version(name).split("+")[0] == version.strip() for name, version in pins)
assert util.find_spec("detectron2").origin
assert util.find_spec("ct_lesion").origin.startswith(f"{root}/")
PYTHON
}

exit_if_up_to_date() {
  ! is_up_to_date || { say "the environment is up to date: $VENV" && exit 0; }
}

# One set-up at a time. If this script is killed, pip runs on and keeps the lock.
take_lock() {
  command -v flock >/dev/null || return 0 # not on macOS
  exec 9>"$STATE/lock"
  flock -n 9 && return
  say "another set-up is running in $VENV: waiting for it"
  flock 9
}

# A rebuild would silently replace the user's own build by the republished one.
keep_own_detectron2() {
  ! compgen -G "$VENV/lib/python*/site-packages/[dD]etectron2[-.]*" >/dev/null ||
    fail "$VENV is incomplete and holds your own build of Detectron2: delete the folder to" \
      "rebuild the environment, or set CT_LESION_VENV to another folder"
}

make_venv() {
  keep_own_detectron2 # also of a set-up that was killed while it held the lock
  [[ -n "${BASE_PYTHON:-}" ]] || choose_python
  find "$VENV" -mindepth 1 -maxdepth 1 ! -name .ct_lesion -exec rm -rf {} +
  "$BASE_PYTHON" -m venv "$VENV" >"$LOG" 2>&1 ||
    fail "$BASE_PYTHON -m venv failed: $(tail -n 1 "$LOG")"
}

# pip_install ARGUMENTS...: pip's output goes to the log, a line every 10 s to the terminal.
pip_install() {
  local shown=$SECONDS why
  "$PY" -P -m pip install "$@" >>"$LOG" 2>&1 &
  CHILD=$!
  while kill -0 "$CHILD" 2>/dev/null; do
    sleep 0.5
    ((SECONDS - shown >= 10)) || continue
    shown=$SECONDS
    # "Installing collected packages" is all that pip prints for minutes: the size shows progress
    say "      $SECONDS s, $(du -sh "$VENV" 2>/dev/null | cut -f 1) on disk:" \
      "$(grep -oE '(Collecting|Downloading|Building|Installing) [^:(]+' "$LOG" | tail -n 1)"
  done
  wait "$CHILD" && return
  why="$(grep -E '^ *(ERROR|error)\b' "$LOG" || cat "$LOG")"
  ! grep -q 'Retrying (Retry' "$LOG" || why="the package index cannot be reached: check the network and pip's configuration"
  fail "pip failed: $(tail -n 1 <<<"$why") (full output: $LOG)"
}

stop() {
  [[ -z "${CHILD:-}" ]] || kill "$CHILD" 2>/dev/null || true
  fail "interrupted; run it again to start over"
}

main() {
  case "${1:-}" in
    "") ;;
    -h | --help) usage && exit ;;
    *) fail "unknown option $1 (see --help)" ;;
  esac
  [[ ! -e "$VENV" || -d "$VENV" ]] || fail "$VENV is not a folder"
  [[ -e "$OURS" || -z "$(ls -A "$VENV" 2>/dev/null)" ]] || fail "$VENV was not made by this" \
    "script and stays unchanged. To use your own environment, activate it and run:" \
    "'pip install -e .' and 'python tools/install_detectron2.py'"
  exit_if_up_to_date
  is_complete || { keep_own_detectron2 && choose_python && require_disk; }
  mkdir -p "$STATE" 2>/dev/null && touch "$OURS" 2>/dev/null || fail "cannot write to $VENV"
  take_lock
  exit_if_up_to_date # the set-up that held the lock may have finished
  trap stop INT TERM
  SECONDS=0

  say "[1/4] virtual environment: $VENV"
  is_complete || make_venv
  say "      Python $(python_version "$PY")"
  rm -f "$STAMP"
  : >"$LOG"
  say "[2/4] the pinned packages and ct_lesion"
  # setuptools first: source packages are then built with it, without an isolated environment each
  pip_install "$(grep '^setuptools==' "$ROOT/requirements.txt")"
  pip_install --no-build-isolation --requirement "$ROOT/requirements.txt" --editable "$ROOT"
  say "[3/4] Detectron2"
  "$PY" -P "$ROOT/tools/install_detectron2.py" || fail "Detectron2 could not be installed"
  say "[4/4] first import"
  local said
  said="$("$PY" -P -W ignore -c 'import ct_lesion' 2>&1)" ||
    fail "installed, but ct_lesion cannot be imported: $(tail -n 1 <<<"$said")"
  checksum >"$STAMP"
  is_up_to_date || fail "installed, but a package differs from requirements.txt (see $LOG)"
  say "ready in $SECONDS s: $VENV"
}

main "$@"
