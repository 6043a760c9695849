#!/usr/bin/env bash
# Installs into an empty prefix, moves it, and builds and runs the examples against it as a stranger
# would: outside the tree, by pkg-config and by find_package, with no library path but the prefix's.
#
#   install_test.sh BUILD_DIR
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
build_dir=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset LD_LIBRARY_PATH PKG_CONFIG_PATH CPATH LIBRARY_PATH

cmake --install "$build_dir" --prefix "$work/first" >"$work/log" || { cat "$work/log" >&2; exit 1; }
mv "$work/first" "$work/prefix"  # nothing may remember where it was installed to
prefix=$work/prefix
libdir=$(dirname "$(find "$prefix" -name libdeepspeed.so -printf '%h\n' -quit)/.")
cd "$work"

fail() { echo "install_test: $*" >&2; exit 1; }
for file in "$libdir/libdeepspeed.so.0" "$libdir/pkgconfig/deepspeed.pc" \
  "$libdir/cmake/DeepSpeed/DeepSpeedConfig.cmake" "$prefix/include/deepspeed/deepspeed.h" \
  "$prefix/bin/dspeed" "$prefix/share/deepspeed/presets/small.json" \
  "$prefix/share/man/man1/dspeed.1" "$prefix/share/bash-completion/completions/dspeed"; do
  [ -e "$file" ] || fail "${file#"$prefix"/} is not installed"
done
[ -z "$(find "$prefix" -name '*.a')" ] || fail "a static archive is installed, which is no interface"
if grep -rIl -e "$source_dir" -e "$build_dir" "$prefix" >leaks; then
  fail "the path of the source or build tree is in $(head -n 1 leaks)"
fi
[ "$(find "$prefix/include" -type f | wc -l)" = "$(find "$source_dir/include" -name '*.h*' | wc -l)" ] ||
  fail "the installed headers are not those of the tree"

export PKG_CONFIG_PATH=$libdir/pkgconfig
flags="$(pkg-config --cflags --libs deepspeed) -Wl,-rpath,$libdir"
# shellcheck disable=SC2086
cc -std=c99 -pedantic -Wall -Wextra -Werror -O2 "$source_dir/examples/c/train_mlp.c" -o train_mlp_c $flags -lm
# shellcheck disable=SC2086
cc -std=c99 -pedantic -Wall -Wextra -Werror -O2 "$source_dir/examples/c/finetune.c" -o finetune $flags
# shellcheck disable=SC2086
c++ -std=c++17 -pedantic -Wall -Wextra -Werror -O2 "$source_dir/examples/cpp/train_mlp.cc" -o train_mlp_cpp $flags
# shellcheck disable=SC2086
c++ -std=c++11 -pedantic -Wall -Wextra -Werror -O2 "$source_dir/examples/cpp/overlap.cc" -o overlap $flags

# What the README shows is C that runs.
sed -n '/^```c$/,/^```$/p' "$source_dir/README.md" | grep -v '^```' >readme.c
# shellcheck disable=SC2086
cc -std=c99 -pedantic -Wall -Wextra -Werror readme.c -o readme $flags
./readme | grep -q 'first weight is [01]\.[0-9]' || fail "the program of the README does not tell its weight"

mkdir consumer
cat >consumer/CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.20)
project(consumer LANGUAGES CXX)
find_package(DeepSpeed 0.1 REQUIRED)
add_executable(train_mlp train_mlp.cc)
target_compile_features(train_mlp PRIVATE cxx_std_17)
target_link_libraries(train_mlp PRIVATE DeepSpeed::deepspeed)
CMAKE
cp "$source_dir/examples/cpp/train_mlp.cc" consumer/
# With the program of a build tree in PATH, as the tutorial has it, that tree is no package.
if PATH="$build_dir/bin:$PATH" cmake -G Ninja -S consumer -B consumer/none >log 2>&1; then
  fail "find_package() finds a package where none is installed"
fi
! grep -F "$build_dir/" log || fail "find_package() looks into the build tree"
cmake -G Ninja -S consumer -B consumer/build -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release >log 2>&1 &&
  cmake --build consumer/build >log 2>&1 || { cat log >&2; fail "find_package(DeepSpeed) does not work"; }

tune="./finetune $source_dir/tests/golden/hf/llama $work/tuned"
for program in ./readme ./train_mlp_c ./train_mlp_cpp ./overlap consumer/build/train_mlp "$tune"; do
  ldd "${program%% *}" >log  # whole, for a pipe that grep leaves early would end it by a signal
  grep -q "$(realpath "$libdir")/libdeepspeed.so.0" log ||
    { cat log >&2; fail "$program does not use the installed library"; }
  # shellcheck disable=SC2086
  $program >out || { cat out >&2; fail "$program failed"; }
done
grep -q 'Gather the weights, |compute' out || { cat out >&2; fail "finetune learned nothing"; }
"$prefix/bin/dspeed" report >out || fail "the installed dspeed does not run"
"$prefix/bin/dspeed" train --list-presets >out
grep -q "$(realpath "$prefix")/share/deepspeed/presets/small.json" out ||
  fail "the installed dspeed does not find its presets"

# Folders that were given as absolute paths are named so, wherever the prefix is.
far=$work/far
cmake -G Ninja -S "$source_dir" -B far-build -DDS_BUILD_TESTS=OFF -DCMAKE_INSTALL_PREFIX="$work/near" \
  -DCMAKE_INSTALL_LIBDIR="$far/lib" -DCMAKE_INSTALL_INCLUDEDIR="$far/include" \
  -DCMAKE_INSTALL_DATADIR="$far/share" >log 2>&1 || { cat log >&2; fail "absolute folders do not configure"; }
flags=$(PKG_CONFIG_PATH=far-build pkg-config --cflags --libs deepspeed)
[ "${flags% }" = "-I$far/include -L$far/lib -ldeepspeed" ] || fail "deepspeed.pc of absolute folders says $flags"
grep -q "RPATH \"$far/lib\"" far-build/cmake_install.cmake || fail "dspeed does not look into $far/lib"
grep -q "DS_DATA_FROM_BIN=.*$far/share/deepspeed" far-build/build.ninja || fail "dspeed does not look into $far/share"
echo "installed, moved, built against and run"
