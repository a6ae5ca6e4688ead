#!/usr/bin/env bash
# Measures weightfs against the ceiling and against what a user would use instead, interleaved in one run.
#
#   bench/run.sh [--quick] [--only reads|loads|scale] [--json FILE]
#
# Needs root (it drops page caches between cold runs), /dev/fuse and about 15 GB of disk. Prints tables and, with
# --json, writes every figure. docs/performance.md says what was measured with it and on what machine.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${WEIGHTFS_BENCH_BUILD:-build/bench}
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DWEIGHTFS_BUILD_BENCH=ON >/dev/null
cmake --build "$build" --target weightfs weightfs_null_server weightfs_read_bench

python=${WEIGHTFS_BENCH_PYTHON:-$(./tests/run.sh --print-python hf5)}
exec "$python" -m bench.measure --build "$build" "$@"
