# Functions for the scripts of this project. Source it from bash: . mount-scripts/lib.sh
# shellcheck shell=bash

weightfs_repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
weightfs_cache=${WEIGHTFS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/weightfs}

# die MESSAGE...: one line on stderr, exit 1.
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# now: seconds since the epoch, with milliseconds.
now() { date +%s.%3N; }

# elapsed SINCE: seconds since `now` said SINCE, two decimals.
elapsed() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }'; }

# step TITLE COMMAND...: says what begins, runs it, says how many seconds it took. Fails as COMMAND does.
step() {
  local title=$1 begin status=0
  shift
  begin=$(now)
  printf '==> %s\n' "$title"
  "$@" || status=$?
  if [ "$status" -eq 0 ]; then
    printf '    %s s\n' "$(elapsed "$begin")"
  else
    printf '    failed (status %s) after %s s: %s\n' "$status" "$(elapsed "$begin")" "$title" >&2
  fi
  return "$status"
}

# quietly COMMAND...: shows what COMMAND printed only when it failed.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then cat "$log" >&2; fi
  rm -f "$log"
  return "$status"
}

is_root() { [ "$(id -u)" -eq 0 ]; }

# as_root COMMAND...: runs COMMAND as root, through sudo when this is not root.
as_root() {
  if is_root; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo --preserve-env=DEBIAN_FRONTEND "$@"
  else
    die "must run as root: $* (this user is not root and there is no sudo)"
  fi
}

# can_be_root: whether `as_root` could work without asking for a password.
can_be_root() { is_root || { command -v sudo >/dev/null && sudo --non-interactive true 2>/dev/null; }; }

# require_fuse: fails with the reason and the remedy when this machine cannot mount at all.
require_fuse() {
  if [ ! -e /dev/fuse ]; then
    die "/dev/fuse is missing: this machine cannot mount. Load the module (modprobe fuse), or give the container the" \
      "device (docker run --device /dev/fuse --cap-add SYS_ADMIN). 'weightfs export' works without it."
  fi
  # Opening is the only honest question: mode bits do not tell what a device cgroup forbids.
  if is_root && ! (exec 3<>/dev/fuse) 2>/dev/null; then
    die "/dev/fuse cannot be opened: $(stat --format='%A %U:%G' /dev/fuse), or a container forbids the device." \
      "'weightfs export' works without it."
  fi
}

# is_mounted DIR: whether DIR is a mountpoint. Looks at the kernel's table, so that a dead mount counts too.
is_mounted() {
  local dir
  dir=$(realpath --no-symlinks "$1")
  awk -v dir="${dir// /\\040}" '$5 == dir { found = 1 } END { exit !found }' /proc/self/mountinfo
}

# wait_for_mount DIR SECONDS: waits until DIR is a mountpoint.
wait_for_mount() {
  local i
  for ((i = 0; i < $2 * 20; i++)); do
    if is_mounted "$1"; then return 0; fi
    sleep 0.05
  done
  return 1
}

# unmount_if_mounted DIR: unmounts DIR, lazily when it is busy. Never fails.
unmount_if_mounted() {
  if is_mounted "$1"; then
    "${weightfs_bin:-weightfs}" umount "$1" >/dev/null 2>&1 || fusermount3 -u -z "$1" 2>/dev/null ||
      umount --lazy "$1" 2>/dev/null || true
  fi
}

# build_release: configures and builds the release preset; sets weightfs_bin.
build_release() {
  cd "$weightfs_repo" || return
  local launcher=()
  if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  quietly cmake --preset release "${launcher[@]}" && quietly cmake --build --preset release
  local status=$?
  # shellcheck disable=SC2034 # read by the scripts that source this file
  weightfs_bin=$weightfs_repo/build/release/cli/weightfs
  return "$status"
}

# has_modules PYTHON MODULE...: whether PYTHON finds every MODULE, without importing them.
has_modules() {
  local python=$1
  shift
  "$python" - "$@" 2>/dev/null <<'PYTHON'
import importlib.util, sys
sys.exit(any(importlib.util.find_spec(name) is None for name in sys.argv[1:]))
PYTHON
}

# ensure_venv NAME REQUIREMENTS [PIP_OPTION...]: makes the Python environment NAME once for these requirements and this
# Python; sets venv_python to its interpreter. The machine's own pip settings decide where packages come from;
# $WEIGHTFS_PIP_ARGS adds options to `pip install` (an index that has torch's CPU build, say).
ensure_venv() {
  local name=$1 requirements=$2 base=${PYTHON:-python3} key folder
  shift 2
  key=$( { "$base" -c 'import sys; print(sys.version, sys.prefix)'; sed 's/#.*//' "$requirements"; } | sha256sum | cut -c1-12)
  folder=$weightfs_cache/venv-$name-$key
  venv_python=$folder/bin/python
  if [ -e "$folder/.complete" ]; then return 0; fi
  rm -rf "$folder"
  mkdir -p "$weightfs_cache"
  "$base" -m venv "$folder" || return
  local pip_args=()
  read -r -a pip_args <<<"${WEIGHTFS_PIP_ARGS:-}"
  quietly "$venv_python" -m pip install --disable-pip-version-check --quiet "${pip_args[@]}" "$@" \
    --requirement "$requirements" || return
  touch "$folder/.complete"
}
