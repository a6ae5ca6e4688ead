#!/usr/bin/env bash
# Builds and installs `convert` as on a machine without FUSE, then builds a program against it, once as a CMake package
# and once with pkg-config, and runs both on a safetensors file of two tensors.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../mount-scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../mount-scripts/lib.sh"

here=$weightfs_repo/tests/consumer
build=$weightfs_repo/build/consumer
prefix=$build/prefix
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi

rm -rf "$prefix" "$build/program"
mkdir -p "$build"
# As where libfuse is not installed: asking for it fails.
cat >"$build/pkg-config" <<'END'
#!/bin/sh
case " $* " in *' fuse3 '*) exit 1 ;; esac
exec pkg-config "$@"
END
chmod +x "$build/pkg-config"
cmake -S "$weightfs_repo" -B "$build/library" -G Ninja -DCMAKE_BUILD_TYPE=Release -DWEIGHTFS_BUILD_FUSE=OFF \
  -DPKG_CONFIG_EXECUTABLE="$build/pkg-config" -DCMAKE_INSTALL_PREFIX="$prefix" "${launcher[@]}"
cmake --build "$build/library"
cmake --install "$build/library"
[ ! -e "$prefix/bin/weightfs" ] || die 'a build without FUSE installed the program'

cmake -S "$here" -B "$build/program" -G Ninja -DCMAKE_PREFIX_PATH="$prefix"
cmake --build "$build/program"

pc=$(dirname "$(find "$prefix" -name weightfs.pc)")
export PKG_CONFIG_PATH=$pc${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
read -r -a flags <<<"$(pkg-config --cflags --libs weightfs)"
g++ -std=c++23 "$here/main.cc" -o "$build/program/consumer-pkg-config" "${flags[@]}"

file=$build/two.safetensors
header='{"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}  '
printf '%b%s\1\2\3' "\\x$(printf '%x' "${#header}")\\0\\0\\0\\0\\0\\0\\0" "$header" >"$file"
for program in consumer consumer-pkg-config; do
  names=$("$build/program/$program" "$file" | sort | tr '\n' ' ')
  [ "$names" = 'a b ' ] || die "$program printed '$names'; expected 'a b '"
done
