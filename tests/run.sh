#!/usr/bin/env bash
# tests/run.sh [--fast] [--only STAGE]...: runs every test of the project, from packages to fuzzing.
#
#   --fast        build, ctest and the quick half of the Python tests, in one environment
#   --only STAGE  these stages alone (repeatable); what they need must have been made before
#   --list        names the stages
#
# The last line is `N passed, N failed`; the exit status is 0 when nothing failed. Logs: build/test-logs/.
# Environment: PYTHON, WEIGHTFS_CACHE, WEIGHTFS_PIP_ARGS (see mount-scripts/quickstart.sh), WEIGHTFS_TEST_SEED.
# shellcheck disable=SC2317 # stages are called by name
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=../mount-scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../mount-scripts/lib.sh"
cd "$weightfs_repo" || exit 1

stages=(packages fuse build ctest environments pytest-hf5 pytest-hf4 families olmo consumer scripts sanitizers fuzz)
fast_stages=(packages fuse build ctest environments pytest-fast)
fast=
only=()
families=(test_families.py test_family_tables.py test_family_refusals.py test_family_reverse.py test_family_mutants.py)
logs=$weightfs_repo/build/test-logs
passed=0
failed=0
jobs=$(nproc)

usage() { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

while [ $# -gt 0 ]; do
  case $1 in
  --fast) fast=1 ;;
  --only)
    [ $# -ge 2 ] || die '--only: expected the name of a stage'
    only+=("$2")
    shift
    ;;
  --list)
    printf '%s\n' "${stages[@]}" pytest-fast
    exit 0
    ;;
  -h | --help)
    usage
    exit 0
    ;;
  *) die "unknown option $1; see --help" ;;
  esac
  shift
done

count() {
  passed=$((passed + $1))
  failed=$((failed + $2))
}

# count_junit FILE: adds what a JUnit report says. A report that is missing or empty is one failure.
count_junit() {
  local numbers
  numbers=$(python3 - "$1" <<'PYTHON'
import sys
import xml.etree.ElementTree as tree

root = tree.parse(sys.argv[1]).getroot()
suites = [root] if root.tag == "testsuite" else list(root)
total = sum(int(suite.get("tests", 0)) for suite in suites)
failed = sum(int(suite.get("failures", 0)) + int(suite.get("errors", 0)) for suite in suites)
# A test that did not run shows nothing: it counts as a failure.
failed += sum(int(suite.get(key) or 0) for suite in suites for key in ("skipped", "disabled"))
print(total - failed, failed if total else 1)
PYTHON
  ) || numbers='0 1'
  # shellcheck disable=SC2086 # two numbers
  count $numbers
}

# one_test NAME COMMAND...: a command that is one test.
one_test() {
  local name=$1
  shift
  if "$@" >"$logs/$name.log" 2>&1; then
    count 1 0
  else
    count 0 1
    echo "    FAILED: $name (build/test-logs/$name.log)"
    tail -n 40 "$logs/$name.log" | sed 's/^/      /'
    return 1
  fi
}

configure_and_build() {
  local preset=$1 launcher=()
  if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  quietly cmake --preset "$preset" "${launcher[@]}" || return
  if ! cmake --build --preset "$preset" --parallel "$jobs" >"$logs/build-$preset.log" 2>&1; then
    # The compiler's words, not the list of what went well.
    grep --extended-regexp --after-context=6 'error:|FAILED:|undefined reference' "$logs/build-$preset.log" |
      cut --characters=-300 | head -n 60 | sed 's/^/      /'
    return 1
  fi
}

run_ctest() {
  local preset=$1 report=$logs/ctest-$1.xml log=$logs/ctest-$1.log status=0
  rm -f "$report"
  ctest --preset "$preset" --parallel "$jobs" --timeout 300 --no-tests=error --output-on-failure \
    --output-junit "$report" >"$log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then grep --extended-regexp '\*\*\*|FAILED|Failure|ERROR' "$log" | head -n 60 | sed 's/^/      /'; fi
  tail -n 3 "$log" | sed 's/^/    /'
  count_junit "$report"
  return "$status"
}

# run_pytest NAME PYTHON BINARY ARGUMENTS...: one pytest session. Mounts that it leaves behind are cleared.
run_pytest() {
  local name=$1 python=$2 binary=$3 status=0 temporary=$weightfs_repo/build/pytest-$1
  shift 3
  rm -f "$logs/$name.xml"
  (
    cd tests/python &&
      WEIGHTFS_BIN=$binary WEIGHTFS_NODE_MODULES=${node_modules:-} \
        WEIGHTFS_DEEPSPEED_PYTHON=${deepspeed_python:-} WEIGHTFS_DEEPSPEED_OLDER=${deepspeed_older:-} \
        PYTHONDONTWRITEBYTECODE=1 \
        timeout --kill-after=20 1500 "$python" -m pytest -p no:cacheprovider --quiet --basetemp="$temporary" \
        --junitxml="$logs/$name.xml" "$@"
  ) >"$logs/$name.log" 2>&1 || status=$?
  clear_mounts "$temporary"
  rm -rf --one-file-system "$temporary"
  if [ "$status" -ne 0 ]; then tail -n 80 "$logs/$name.log" | sed 's/^/      /'; fi
  grep --only-matching 'WEIGHTFS_TEST_SEED=.*' "$logs/$name.log" | head -n 1 | sed 's/^/    /'
  tail -n 1 "$logs/$name.log" | sed 's/^/    /'
  count_junit "$logs/$name.xml"
  return "$status"
}

# clear_mounts DIR: unmounts whatever is still mounted below DIR.
clear_mounts() {
  awk -v dir="$1/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | while read -r point; do
    umount --lazy "$(printf '%b' "$point")" 2>/dev/null
  done
}

# Stages ----------------------------------------------------------------------------------------------------------------

stage_packages() {
  local group=all
  if [ -n "$fast" ]; then group='test'; fi
  if can_be_root; then
    mount-scripts/install-packages.sh "$group"
  else
    WEIGHTFS_NO_INSTALL=1 mount-scripts/install-packages.sh "$group"
  fi
}

stage_fuse() { (require_fuse); }

stage_build() { configure_and_build dev; }

stage_ctest() { run_ctest dev; }

# The environments are made once and kept; each stage that uses one asks again, which costs nothing.
use_python() {
  ensure_venv "$1" "$weightfs_repo/tests/requirements/$1.txt" && python=$venv_python
}

# The published converters of model families, with what they import and nothing else.
use_convert_python() {
  ensure_venv convert "$weightfs_repo/tests/requirements/convert.txt" --no-deps && convert_python=$venv_python
}

# The environment that writes training checkpoints, and beside it an older release of DeepSpeed, for its layouts.
use_deepspeed() {
  local requirements=$weightfs_repo/tests/requirements pip_args=()
  ensure_venv deepspeed "$requirements/deepspeed.txt" || return
  deepspeed_python=$venv_python
  deepspeed_older=${venv_python%/bin/python}/$(sed 's/#.*//; s/==/-/' "$requirements/deepspeed-older.txt" | xargs)
  if [ -e "$deepspeed_older/.complete" ]; then return 0; fi
  rm -rf "$deepspeed_older"
  read -r -a pip_args <<<"${WEIGHTFS_PIP_ARGS:-}"
  DS_ACCELERATOR=cpu quietly "$deepspeed_python" -m pip install --disable-pip-version-check --quiet "${pip_args[@]}" \
    --no-deps --no-build-isolation --target "$deepspeed_older" --requirement "$requirements/deepspeed-older.txt" || return
  touch "$deepspeed_older/.complete"
}

# OLMo-core, which wants other versions than the tests.
use_olmo_python() {
  ensure_venv olmo "$weightfs_repo/tests/requirements/olmo.txt" && olmo_python=$venv_python
}

use_node_modules() {
  local folder key
  key=$(cat tests/node/package.json tests/node/package-lock.json | sha256sum | cut -c1-12)
  folder=$weightfs_cache/node-$key
  node_modules=$folder/node_modules
  if [ -e "$folder/.complete" ]; then return 0; fi
  mkdir -p "$folder"
  cp tests/node/package.json tests/node/package-lock.json "$folder/"
  (cd "$folder" && quietly npm ci --no-audit --no-fund --ignore-scripts) && touch "$folder/.complete"
}

stage_environments() {
  use_python hf5 && use_node_modules && use_deepspeed &&
    { [ -n "$fast" ] || { use_python hf4 && use_convert_python && use_olmo_python; }; }
}

stage_pytest-hf5() {
  use_python hf5 && use_node_modules && use_deepspeed &&
    run_pytest pytest-hf5 "$python" "$weightfs_repo/build/dev/cli/weightfs" "${families[@]/#/--ignore=}" --ignore=test_olmo.py
}

stage_pytest-hf4() {
  use_python hf4 &&
    run_pytest pytest-hf4 "$python" "$weightfs_repo/build/dev/cli/weightfs" test_from_pretrained.py
}

# Model families, with both lines of transformers, on checkpoints that the real software writes once for all of them.
stage_families() {
  local made=$weightfs_repo/build/reference-software
  use_convert_python || return
  rm -rf "$made"
  one_test reference-software "$convert_python" -W ignore tests/python/reference_software.py "$made" || return
  use_python hf5 && WEIGHTFS_REFERENCE=$made run_pytest families-hf5 "$python" "$weightfs_repo/build/dev/cli/weightfs" \
    "${families[@]}"
  local status=$?
  use_python hf4 && WEIGHTFS_REFERENCE=$made run_pytest families-hf4 "$python" "$weightfs_repo/build/dev/cli/weightfs" \
    test_families.py || status=1
  rm -rf "$made"
  return "$status"
}

# OLMo-core runs, which OLMo-core writes and converts once.
stage_olmo() {
  local made=$weightfs_repo/build/olmo-runs
  use_olmo_python || return
  rm -rf "$made"
  one_test olmo-runs "$olmo_python" tests/python/olmo_writer.py "$made" || return
  use_python hf5 && WEIGHTFS_OLMO=$made run_pytest olmo-hf5 "$python" "$weightfs_repo/build/dev/cli/weightfs" test_olmo.py
  local status=$?
  rm -rf "$made"
  return "$status"
}

stage_pytest-fast() {
  use_python hf5 && use_node_modules && use_deepspeed &&
    run_pytest pytest-fast "$python" "$weightfs_repo/build/dev/cli/weightfs" -m 'not slow' --ignore=test_olmo.py
}

stage_consumer() { one_test consumer tests/consumer/run.sh; }

stage_scripts() {
  local scripts
  mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
  one_test shellcheck shellcheck --external-sources "${scripts[@]}"
}

stage_sanitizers() {
  configure_and_build asan-ubsan && run_ctest asan-ubsan && use_python hf5 && use_deepspeed &&
    run_pytest pytest-sanitizers "$python" "$weightfs_repo/build/asan-ubsan/cli/weightfs" -m 'not slow' \
      test_byte_equality.py test_refusals.py test_repositories.py test_deepspeed.py test_dcp.py test_cogvideox.py
}

stage_fuzz() {
  configure_and_build asan-ubsan || return
  local target name status=0 scratch
  scratch=$(mktemp --directory)
  while read -r target; do
    name=$(basename "$target")
    mkdir -p "$scratch/$name"
    # New inputs go to the scratch folder; the seed corpus is read, never written.
    one_test "$name" "$target" -max_total_time=5 -rss_limit_mb=2048 -timeout=10 -artifact_prefix="$logs/" \
      "$scratch/$name" "tests/fuzz/corpus/$name" </dev/null || status=1
  done < <(find build/asan-ubsan/tests/fuzz -maxdepth 1 -type f -executable | sort)
  rm -rf "$scratch"
  return "$status"
}

# Run them --------------------------------------------------------------------------------------------------------------

main() {
  local chosen stage failed_before begin
  if [ "${#only[@]}" -gt 0 ]; then
    chosen=("${only[@]}")
  elif [ -n "$fast" ]; then
    chosen=("${fast_stages[@]}")
  else
    chosen=("${stages[@]}")
  fi

  mkdir -p "$logs"
  trap 'clear_mounts "$weightfs_repo/build"' EXIT
  trap 'exit 130' INT TERM
  begin=$(now)
  for stage in "${chosen[@]}"; do
    declare -F "stage_$stage" >/dev/null || die "unknown stage '$stage'; expected one of ${stages[*]} pytest-fast"
    failed_before=$failed
    if ! step "$stage" "stage_$stage"; then
      # A stage that failed without a failed test (a build, an install) is a failure itself.
      if [ "$failed" -eq "$failed_before" ]; then count 0 1; fi
      # Nothing after these can work without them.
      case $stage in packages | fuse | build | environments) break ;; esac
    fi
  done
  printf '\n%s s in all\n%d passed, %d failed\n' "$(elapsed "$begin")" "$passed" "$failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# On one line: this file may change while it runs.
main; exit
