#!/usr/bin/env bash
# Builds the environment ct_lesion runs in. Run it as often as you like: see --help.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${CT_LESION_VENV:-$ROOT/.venv}"
[[ "$VENV" == /* ]] || VENV="$PWD/$VENV"
PY="$VENV/bin/python"

STATE="$VENV/.ct_lesion"        # what this script remembers about the venv; all of the below
OURS="$STATE/ours"              # this script made the venv, so it may change and rebuild it
VENV_MADE="$STATE/venv-made"    # python -m venv ran to its end
PINNED="$STATE/pinned"          # a venv of the user's own that gets the pinned versions
STAMP="$STATE/stamp"            # everything is installed: a hash of what it was made from
INSTALLING="$STATE/installing"  # an installation started and has not ended
D2_STARTED="$STATE/detectron2"  # the same for Detectron2: what lies there is ours, not the user's
LOG="$STATE/setup.log"

NEED_GB=8
DETECTRON2="sal-detectron2==0.7.2"
DETECTRON2_SHA256="491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"

usage() {
  cat <<TEXT
usage: bash tools/setup_env.sh [--pinned] [--help]

Makes the virtual environment .venv in the checkout and installs into it the versions
pinned in requirements.txt, Detectron2 (unless one can be imported already: your own build is
never touched) and ct_lesion itself in editable mode. About 6 GB and a few minutes the first
time, about a second when nothing has changed. An interrupted run is repaired by the next one.

  CT_LESION_VENV=DIR  use the virtual environment DIR instead of .venv. If you made it and it
                      holds packages, only what is missing is added, no version changes.
  PYTHON=PROGRAM      the Python (3.11 to 3.13) to make the environment with.
  --pinned            bring your own environment to the pinned versions as well.
TEXT
}

say() { printf '%s\n' "$*"; }
fail() {
  printf 'setup_env: %s\n' "$*" >&2
  exit 1
}

# The python of the venv. -P: a folder named detectron2 in the current directory is not a module.
venv_python() { "$PY" -P "$@"; }

python_version() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }
suitable() { [[ "$1" =~ ^3\.(11|12|13)\. ]]; }

# Sets BASE_PYTHON: the first Python that is suitable and can make virtual environments.
choose_python() {
  local name version found="" without_venv=""
  local names=(python3 python3.12 python3.11 python3.13)
  [[ -z "${PYTHON:-}" ]] || names=("$PYTHON")
  for name in "${names[@]}"; do
    version="$(python_version "$name")" || continue # not there, or a shim that leads nowhere
    found+="${found:+, }$name is $version"
    suitable "$version" || continue
    if "$name" -c 'import venv, ensurepip' 2>/dev/null; then
      BASE_PYTHON="$name"
      return
    fi
    without_venv="${without_venv:-$name ($version)}"
  done
  [[ -z "$without_venv" ]] || fail "$without_venv has no venv and ensurepip modules:" \
    "install them (Debian, Ubuntu: apt install python3-venv) or set PYTHON to another Python"
  fail "no suitable Python: 3.11 to 3.13 is needed, found ${found:-none (tried ${names[*]})};" \
    "install one or set PYTHON=/path/to/python3"
}

# How much the venv holds, in KB; a pip at work makes and removes files under du's eyes.
venv_size() { { du -sk "$VENV" 2>/dev/null || true; } | awk '{ print $1 }'; }

# What the venv already holds counts: a run that resumes has paid for that part.
require_disk() {
  local place="$VENV" free used=0
  while [[ ! -d "$place" ]]; do place="$(dirname "$place")"; done
  free="$(df -Pk "$place" | awk 'NR == 2 { print $4 }')"
  [[ ! -d "$VENV" ]] || used="$(venv_size)"
  ((free + used >= NEED_GB * 1024 * 1024)) || fail "$((free / 1024 / 1024)) GB free in $place," \
    "$NEED_GB GB needed for torch and its libraries: free some space," \
    "or set CT_LESION_VENV to a folder on another disk"
}

# One installation at a time. After a kill -9 of this script, pip goes on and still holds the
# lock, so that the next run waits for it instead of installing over it.
take_lock() {
  command -v flock >/dev/null || return 0 # not on macOS
  exec 9>"$STATE/lock"
  flock -n 9 && return
  say "another set-up is at work in $VENV (or the pip it left behind): waiting for it"
  flock 9
}

# Prints why the environment is not up to date, nothing if it is. Imports nothing heavy: it runs
# at every start. With --write it writes the stamp instead.
what_is_stale() {
  venv_python - "$ROOT" "$STAMP" "$MODE" "$@" <<'PYTHON'
import hashlib, importlib.util, re, sys
from importlib import metadata
from pathlib import Path

root, stamp, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
requirements = (root / "requirements.txt").read_text()
version = re.findall(r"^__version__.*$", (root / "ct_lesion/version.py").read_text(), re.M)
sources = [requirements, (root / "setup.py").read_text(),
           (root / "tools/setup_env.sh").read_text(), *version, sys.version, str(root), mode]
digest = hashlib.sha256("\0".join(sources).encode()).hexdigest()
if "--write" in sys.argv:
    stamp.write_text(digest + "\n")
    sys.exit()

def stale(why):
    print(why)
    sys.exit()

if not stamp.is_file():
    stale("not installed yet, or not to the end")
if stamp.read_text().strip() != digest:
    stale("the requirements or the set-up have changed")
for name, pin in re.findall(r"^([\w.-]+)==(\S+)", requirements, re.M):
    try:
        found = metadata.version(name).split("+")[0]
    except metadata.PackageNotFoundError:
        stale(f"{name} is missing")
    if mode == "pinned" and found != pin:
        stale(f"{name} is {found} instead of {pin}")
detectron2 = importlib.util.find_spec("detectron2")
if detectron2 is None or detectron2.origin is None:
    stale("detectron2 is missing")
package = importlib.util.find_spec("ct_lesion")
if package is None or Path(package.origin or "").parent != root / "ct_lesion":
    stale("ct_lesion is not installed from this checkout")
PYTHON
}

# After an interruption: pip believes the metadata it finds, so a package whose files are not all
# there would stay broken for ever. Without its metadata, pip installs it again. In a venv of the
# user's own only what has changed since the installation began is looked at.
heal() {
  say "      an earlier run did not finish: looking for half-installed packages"
  venv_python - "$INSTALLING" "$OURS" <<'PYTHON'
import csv, shutil, sys, sysconfig
from pathlib import Path

began, ours = Path(sys.argv[1]), Path(sys.argv[2])
site = Path(sysconfig.get_path("platlib"))
since = 0 if ours.exists() else began.stat().st_mtime

def whole(info):
    if not (info / "RECORD").is_file() or not (info / "METADATA").is_file():
        return False
    with open(info / "RECORD", newline="") as record:
        for name, _, size in csv.reader(record):
            path = site / name
            if name.endswith(".pyc"):
                continue
            if not path.is_file() or (size and path.stat().st_size != int(size)):
                return False
    return True

for info in site.glob("*.dist-info"):
    if info.stat().st_mtime >= since and not whole(info):
        print(f"      {info.name.removesuffix('.dist-info')} is incomplete: once more")
        shutil.rmtree(info)
for left in site.glob("~*"):  # pip's own, from a replacement it did not finish
    if left.stat().st_mtime >= since:
        shutil.rmtree(left) if left.is_dir() else left.unlink()
PYTHON
  # a detectron2 folder from a run that did not finish installing it is nobody's own build
  if [[ -e "$D2_STARTED" ]]; then
    local site
    site="$(venv_python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')"
    rm -rf "$site/detectron2" "$site"/sal_detectron2-*.dist-info
    rm -f "$D2_STARTED"
  fi
}

make_venv() {
  if [[ -e "$OURS" ]]; then # half-made, or its Python is gone
    find "$VENV" -mindepth 1 -maxdepth 1 ! -name .ct_lesion -exec rm -rf {} +
    rm -f "$STAMP" "$INSTALLING" "$D2_STARTED" "$VENV_MADE"
  fi
  touch "$OURS" 2>/dev/null || fail "$VENV cannot be written to"
  "$BASE_PYTHON" -m venv "$VENV" >"$LOG" 2>&1 ||
    fail "$BASE_PYTHON -m venv failed: $(tail -n 1 "$LOG")"
  touch "$VENV_MADE"
}

# The last thing pip said it was busy with; while it unpacks, it says nothing for minutes.
pip_activity() {
  local last
  last="$(sed -nE '/^ *(Collecting|Downloading|Processing|Building|Installing) /{
      s/^ *//; s/ \(.*//; s#https?://[^ ]*/##; s# (/|\./)[^ ]*/# #; s/(packages):.*/\1/; p; }' \
    "$LOG" | tail -n 1)"
  [[ "$last" != Installing* ]] ||
    last+=", $(venv_size | awk '{ printf "%.1f", $1 / 1048576 }') GB in place"
  say "${last:-working}"
}

# The reason why pip failed on one line, without the addresses it tried.
pip_reason() {
  local why
  why="$(sed -n '/^The conflict is caused by:/,/^$/{ s/^ \{1,\}//p; }' "$LOG" | paste -sd ';' -)"
  [[ -z "$why" || "$MODE" == pinned ]] ||
    why+=" (the versions you have are kept: change them yourself, or run this with --pinned)"
  [[ -n "$why" ]] || why="$(grep -E '^ *(ERROR|error)\b' "$LOG" | tail -n 1 || true)"
  [[ -n "$why" ]] || why="$(grep -v '^ *$' "$LOG" | tail -n 1 || true)"
  if grep -qE 'Failed to establish a new connection|Retrying \(Retry|name resolution' "$LOG"; then
    why="the package index cannot be reached ($why)"
  fi
  sed -E "s#(https?|file)://[^ ,)]*#<address>#g; s/host='[^']*'/host/g" <<<"$why"
}

# pip ARGUMENTS...: output goes to the log, a line now and then to the terminal.
pip() {
  local began=$SECONDS shown=$SECONDS status=0
  say "--- pip $*" >>"$LOG"
  venv_python -m pip --disable-pip-version-check --no-input "$@" >>"$LOG" 2>&1 &
  CHILD=$!
  while kill -0 "$CHILD" 2>/dev/null; do
    sleep 0.3
    if ((SECONDS - shown >= 10)); then
      shown=$SECONDS
      say "      $((SECONDS - began)) s: $(pip_activity)"
    fi
  done
  wait "$CHILD" || status=$?
  CHILD=""
  ((status == 0)) || fail "pip $1 failed: $(pip_reason) - all of it: $LOG"
}

stop() {
  [[ -z "${CHILD:-}" ]] || kill "$CHILD" 2>/dev/null || true
  fail "interrupted; the next run goes on from here"
}

# The versions that are there, as pip constraints: pip then fails rather than change one.
keep_what_is_there() {
  venv_python - >"$STATE/keep.txt" <<'PYTHON'
import re
from importlib import metadata

# pip's own tools are free to change, torch asks for a recent setuptools
seen = {"ct-lesion", "pip", "setuptools", "wheel"}  # and of two with one name the first, which is the one imported
for dist in metadata.distributions():
    name, version = dist.metadata["Name"] or "", dist.version or ""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if name and key not in seen and re.fullmatch(r"\d[\w.+!-]*", version):
        print(f"{name}=={version}")
    seen.add(key)
PYTHON
}

install_packages() {
  if [[ "$MODE" == keep ]]; then
    keep_what_is_there
    pip install --constraint "$STATE/keep.txt" --editable "$ROOT[dev]" # its loose requirements
    return
  fi
  # setuptools first: with it the source packages build right here, without an environment of
  # their own each
  pip install "$(grep '^setuptools==' "$ROOT/requirements.txt")"
  pip install --no-build-isolation --requirement "$ROOT/requirements.txt"
}

# Detectron2's republished wheel, without what it should not have: a top-level package `tools`
# that would shadow everybody's, a library compiled for Python 3.10 only, and requirements that
# are wrong. A wheel made from the rest is one that pip installs, checks and removes as usual.
repack_detectron2() {
  venv_python - "$1" "$DETECTRON2_SHA256" <<'PYTHON'
import base64, hashlib, sys, zipfile
from pathlib import Path

folder, sha256 = Path(sys.argv[1]), sys.argv[2]
(source,) = folder.glob("*.whl")
found = hashlib.sha256(source.read_bytes()).hexdigest()
if found != sha256:
    sys.exit(f"{source.name} has sha256 {found}, not {sha256}")
wrong = ("Requires-Dist: numpy<2", "Requires-Dist: black", "Requires-Dist: dataclasses")
name = "-".join(source.name.split("-")[:2])
(folder / "repacked").mkdir()
target = folder / "repacked" / f"{name}-1ct_lesion-py3-none-any.whl"
record = []
with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
    for item in old.namelist():
        if item.startswith("tools/") or item.endswith((".so", "/", "/RECORD")):
            continue
        data = old.read(item)
        if item.endswith(".dist-info/METADATA"):
            lines = [x for x in data.decode().split("\n") if not x.startswith(wrong)]
            lines.insert(lines.index("Requires-Dist: tabulate"), "Requires-Dist: numpy\n"
                         "Requires-Dist: fvcore>=0.1.5\nRequires-Dist: iopath>=0.1.7")
            data = "\n".join(lines).encode()
        elif item.endswith(".dist-info/WHEEL"):
            data = (b"Wheel-Version: 1.0\nGenerator: ct_lesion setup_env\n"
                    b"Root-Is-Purelib: true\nBuild: 1ct_lesion\nTag: py3-none-any\n")
        elif item.endswith(".dist-info/top_level.txt"):
            data = b"detectron2\n"
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{item},sha256={digest},{len(data)}\n")
        new.writestr(item, data)
    new.writestr(f"{name}.dist-info/RECORD", "".join(record) + f"{name}.dist-info/RECORD,,\n")
PYTHON
}

detectron2_is_there() {
  venv_python -c 'import importlib.util as u, sys
spec = u.find_spec("detectron2"); sys.exit(spec is None or spec.origin is None)'
}

install_detectron2() {
  if detectron2_is_there; then
    say "      one is there already: left as it is"
    return
  fi
  local folder="$STATE/download" why
  rm -rf "$folder"
  # the wheel is tagged for Python 3.10; its Python part runs on every later one
  pip download --no-deps --only-binary=:all: --implementation cp --python-version 3.10 \
    --dest "$folder" "$DETECTRON2"
  why="$(repack_detectron2 "$folder" 2>&1)" ||
    fail "the downloaded Detectron2 cannot be used: $(tail -n 1 <<<"$why")"
  touch "$D2_STARTED"
  # by name, not by path: pip would note the path for ever, and freeze would print it
  pip install --no-deps --no-index --find-links "$folder/repacked" "$DETECTRON2"
  rm -rf "$D2_STARTED" "$folder"
}

install_ct_lesion() {
  [[ "$MODE" == pinned ]] || return 0 # done: its requirements were what brought the packages
  pip install --no-deps --no-build-isolation --editable "$ROOT"
}

# The first import also says what pip cannot know: a missing system library, say.
check_imports() {
  local said
  said="$(venv_python -W ignore -c '
import cv2, pycocotools.mask, torch, torchvision.ops
import detectron2.data, detectron2.engine, detectron2.evaluation, detectron2.modeling
from pathlib import Path
print("torch", torch.__version__, "detectron2 in", Path(detectron2.__file__).parent)
' 2>&1)" || fail "installed, but it cannot be imported: $(tail -n 1 <<<"$said")"
  say "      $(tail -n 1 <<<"$said")"
}

# Sets MODE (pinned, or keep: change no version) and, where the venv can be used, VERSION.
look_at_venv() {
  VERSION=""
  MODE=pinned
  [[ ! -e "$VENV" || -d "$VENV" ]] || fail "$VENV is not a folder"
  if [[ -e "$OURS" ]]; then
    [[ ! -e "$VENV_MADE" ]] || VERSION="$(python_version "$PY")" || true
    return
  fi
  [[ -n "$(ls -A "$VENV" 2>/dev/null | grep -vxF .ct_lesion)" ]] || return 0 # not there, or empty
  VERSION="$(python_version "$PY")" || fail "$VENV is no virtual environment with a Python that" \
    "runs: remove it, or set CT_LESION_VENV to another folder"
  suitable "$VERSION" || fail "$VENV has Python $VERSION, 3.11 to 3.13 is needed:" \
    "set CT_LESION_VENV to another folder"
  [[ -n "$WANT_PINNED" || -e "$PINNED" ]] || is_empty_venv || MODE=keep
}

# Nothing but pip and its tools: there are no versions to keep.
is_empty_venv() {
  venv_python -c 'import sys; from importlib import metadata
names = {str(dist.metadata["Name"]).lower() for dist in metadata.distributions()}
sys.exit(bool(names - {"pip", "setuptools", "wheel"}))'
}

exit_if_up_to_date() {
  WHY="nothing is there yet"
  [[ -n "$VERSION" ]] || return 0
  WHY="$(what_is_stale)" || WHY="it cannot be read"
  [[ -z "$WHY" ]] || return 0
  say "the environment is up to date: $VENV (Python $VERSION)"
  exit 0
}

has_torch() {
  [[ -n "$VERSION" && ! -e "$INSTALLING" ]] &&
    venv_python -c 'from importlib import metadata; metadata.version("torch")' 2>/dev/null
}

main() {
  WANT_PINNED=""
  while (($#)); do
    case "$1" in
      -h | --help) usage && exit ;;
      --pinned) WANT_PINNED=yes ;;
      *) fail "unknown option $1 (--help lists them)" ;;
    esac
    shift
  done

  look_at_venv
  exit_if_up_to_date
  say "setting up $VENV: $WHY"
  [[ -n "$VERSION" ]] || choose_python
  has_torch || require_disk
  mkdir -p "$STATE" 2>/dev/null || fail "$VENV cannot be made or written to"
  take_lock
  look_at_venv # once more: somebody may have finished the job in the meantime
  exit_if_up_to_date
  trap stop INT TERM
  SECONDS=0

  say "[1/5] a virtual environment"
  [[ -n "$VERSION" ]] || make_venv
  say "      Python $(python_version "$PY")"
  : >"$LOG"
  rm -f "$STAMP"
  [[ "$MODE" == keep || -e "$OURS" ]] || touch "$PINNED"
  [[ ! -e "$INSTALLING" ]] || heal
  touch "$INSTALLING" # after heal, which wants to know when the first attempt began
  "$PY" -m pip --version >/dev/null 2>&1 || "$PY" -m ensurepip >>"$LOG" 2>&1 ||
    fail "$VENV has no pip, and ensurepip cannot add it: $(tail -n 1 "$LOG")"

  if [[ "$MODE" == pinned ]]; then
    say "[2/5] the pinned packages"
  else
    say "[2/5] what is missing of the packages; the versions you have stay"
  fi
  install_packages
  say "[3/5] Detectron2"
  install_detectron2
  say "[4/5] ct_lesion, editable"
  install_ct_lesion
  say "[5/5] a first import"
  check_imports

  what_is_stale --write
  rm -f "$INSTALLING"
  WHY="$(what_is_stale)"
  [[ -z "$WHY" ]] || fail "installed, yet not as it should be: $WHY"
  say "ready in $SECONDS s: $VENV"
}

main "$@"
