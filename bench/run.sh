#!/usr/bin/env bash
# Measures weightfs against the ceiling and against what a user would use instead, interleaved in one run.
#
#   bench/run.sh [--quick] [--only reads|views|loads|scale|deepspeed|dcp] [--work DIR] [--json FILE]
#
# Needs root (it drops page caches between cold runs), /dev/fuse and about 20 GB of disk. Prints tables and, with
# --json, writes every figure. docs/performance.md says what was measured with it and on what machine.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../mount-scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../mount-scripts/lib.sh"
cd "$weightfs_repo"

build=${WEIGHTFS_BENCH_BUILD:-build/bench}
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
quietly cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DWEIGHTFS_BUILD_BENCH=ON "${launcher[@]}"
quietly cmake --build "$build" --target weightfs weightfs_null_server weightfs_read_bench
ensure_venv deepspeed tests/requirements/deepspeed.txt
export WEIGHTFS_DEEPSPEED_PYTHON=$venv_python
ensure_venv hf5 tests/requirements/hf5.txt
exec "$venv_python" -m bench.measure --build "$build" "$@"
