#!/usr/bin/env bash
# quickstart.sh: from a fresh clone to a model loaded through a mount. Installs packages, builds weightfs, makes a small
# .bin repository with PyTorch, mounts it, loads it with from_pretrained, generates a few tokens, unmounts.
# quickstart.sh SOURCE [OPTION...]: builds, then mounts SOURCE (a .bin repository, a .pt file) and leaves it mounted;
# OPTIONs go to `weightfs mount`.
#
# As root, or as a user with sudo. Environment:
#   PYTHON             the Python to use, or to make an environment from (python3)
#   WEIGHTFS_CACHE     where the environment is kept (~/.cache/weightfs)
#   WEIGHTFS_PIP_ARGS  more options for pip install. The pin is torch==2.13.0 under the machine's own pip settings; where
#                      those give a CUDA build, name an index or folder that has the CPU build here.
#   WEIGHTFS_MOUNTPOINT  where SOURCE is mounted (a new folder below $XDG_RUNTIME_DIR or /tmp)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scripts=$weightfs_repo/mount-scripts
work=

clean_up() {
  if [ -n "$work" ]; then
    unmount_if_mounted "$work/mnt"
    rm -rf --one-file-system "$work"
  fi
}

# choose_python: sets python to one that has torch and transformers, made here when there is none.
choose_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null && has_modules "$candidate" torch transformers; then
      python=$candidate
      echo "    using $(command -v "$candidate"), which has torch and transformers"
      return 0
    fi
  done
  "$scripts/install-packages.sh" python || return
  echo '    making an environment with torch 2.13.0 and transformers 5.23.0 (once; a few minutes)'
  ensure_venv quickstart "$scripts/requirements.txt" || return
  python=$venv_python
}

mount_example() { "$weightfs_bin" mount "$work/model" "$work/mnt" && ls -l "$work/mnt"; }

unmount_example() { "$weightfs_bin" umount "$work/mnt"; }

show_example() {
  local begin
  begin=$(now)
  work=$(mktemp --directory --tmpdir weightfs-quickstart.XXXXXX)
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  mkdir "$work/model" "$work/mnt"
  export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error

  step 'install packages' "$scripts/install-packages.sh" build
  require_fuse
  step 'build weightfs (release)' build_release
  step 'find or make a Python with torch and transformers' choose_python
  step 'make a small model, saved as pytorch_model.bin' "$python" "$scripts/make_example_model.py" "$work/model"
  step 'mount it' mount_example
  step 'load it from the mountpoint and generate' "$python" "$scripts/load_example_model.py" "$work/mnt" "$work/model"
  step 'unmount' unmount_example

  cat <<END

Done in $(elapsed "$begin") s. The repository had no model.safetensors: the loader read one that weightfs made from
pytorch_model.bin while it was read. Nothing was converted on disk, and the source was not touched.

Next, with a model of your own (a folder with pytorch_model*.bin, or a bare .pt, .pth, .bin or .ckpt file):

    ./mount-scripts/quickstart.sh SOURCE

or by hand:

    $weightfs_bin inspect SOURCE
    $weightfs_bin mount SOURCE MOUNTPOINT --dtype bf16
    $weightfs_bin umount MOUNTPOINT
END
}

serve_source() {
  local source=$1 mountpoint=${WEIGHTFS_MOUNTPOINT:-}
  shift
  [ -e "$source" ] || die "$source: no such file or folder"
  source=$(realpath --no-symlinks "$source")
  step 'install packages' "$scripts/install-packages.sh" build
  require_fuse
  step 'build weightfs (release)' build_release
  if [ -z "$mountpoint" ]; then
    mountpoint=$(mktemp --directory "${XDG_RUNTIME_DIR:-/tmp}/weightfs-XXXXXX")
  fi
  if ! step "mount $source" "$weightfs_bin" mount "$source" "$mountpoint" "$@"; then
    unmount_if_mounted "$mountpoint"
    [ -n "${WEIGHTFS_MOUNTPOINT:-}" ] || rmdir "$mountpoint"
    exit 1
  fi
  cat <<END

Mounted at $mountpoint:

$(ls -l "$mountpoint")

Use it:      python -c "from transformers import AutoModelForCausalLM as A; A.from_pretrained('$mountpoint')"
See inside:  $weightfs_bin inspect $(printf '%q' "$source")
Unmount:     $weightfs_bin umount $mountpoint
END
}

case ${1:-} in
-h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" ;;
'') show_example ;;
-*) die "unknown option $1; usage: quickstart.sh [SOURCE [OPTION...]]" ;;
*) serve_source "$@" ;;
esac
