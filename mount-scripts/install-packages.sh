#!/usr/bin/env bash
# install-packages.sh [GROUP...]: installs the Debian packages that weightfs needs (packages.txt), those that are
# missing only. Groups: build (the default; with run), run, python, test (with build and python), all.
# Needs root or sudo when something is missing. Set WEIGHTFS_NO_INSTALL=1 to have it name what is missing and fail.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

list=$weightfs_repo/mount-scripts/packages.txt

case ${1:-} in
-h | --help)
  sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"
  exit 0
  ;;
esac

declare -A wanted=()
for group in "${@:-build}"; do
  case $group in
  build) groups='build run' ;;
  test) groups='build run python test' ;;
  all) groups='build run python test fuzz bench' ;;
  run | python | fuzz | bench) groups=$group ;;
  *) die "unknown group '$group'; expected build, run, python, test, fuzz, bench or all" ;;
  esac
  for name in $groups; do wanted[$name]=1; done
done

is_installed() {
  local package=$1 command=$2
  if [ -n "$command" ] && command -v "$command" >/dev/null; then return 0; fi
  [ "$(dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null)" = 'ii ' ]
}

missing=()
while read -r group package command; do
  case $group in '' | '#'*) continue ;; esac
  if [ -n "${wanted[$group]:-}" ] && ! is_installed "$package" "$command"; then missing+=("$package"); fi
done <"$list"

if [ "${#missing[@]}" -eq 0 ]; then
  echo '    all packages are installed'
  exit 0
fi
echo "    missing: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  die "this is not a Debian system: install the like of: ${missing[*]}"
fi
if [ -n "${WEIGHTFS_NO_INSTALL:-}" ]; then die "WEIGHTFS_NO_INSTALL is set: install them first"; fi

export DEBIAN_FRONTEND=noninteractive
# An answer from the lists at hand saves the download of new ones; where they are old, the install fails and asks for them.
apt_install() { as_root apt-get install --yes --quiet --no-install-recommends "${missing[@]}"; }
if ! apt-cache show "${missing[@]}" >/dev/null 2>&1 || ! apt_install >/dev/null 2>&1; then
  quietly as_root apt-get update --quiet
  quietly apt_install
fi
echo "    installed ${#missing[@]} packages"
