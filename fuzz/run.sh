#!/usr/bin/env bash
# Runs one fuzz target for some time: fuzz/run.sh TARGET [SECONDS] [LIBFUZZER FLAGS...]
#
# Works with the stable compiler: the coverage that libFuzzer follows is put in
# by LLVM flags. New inputs are kept outside of the repository and, at the end,
# those that add coverage are merged into fuzz/corpus/TARGET. A finding is left
# as fuzz/artifacts/TARGET/crash-...
set -euo pipefail
cd "$(dirname "$0")"

target=${1:?usage: fuzz/run.sh TARGET [SECONDS] [FLAGS...]}
seconds=${2:-60}
shift $(($# > 2 ? 2 : $#))

# No static C library here: libFuzzer brings C++ with it.
export RUSTFLAGS="--cfg fuzzing -C codegen-units=1 -C passes=sancov-module \
-C llvm-args=-sanitizer-coverage-level=4 \
-C llvm-args=-sanitizer-coverage-inline-8bit-counters \
-C llvm-args=-sanitizer-coverage-pc-table \
-C llvm-args=-sanitizer-coverage-trace-compares"
cargo build --quiet --release --bin "$target"
host=$(rustc -vV | sed -n 's/^host: //p')
binary=target/$host/release/$target

# Long inputs find nothing that short ones do not, and are slow.
case $target in
  parse) longest=2048 ;;
  tar | unpack | load) longest=8192 ;;
  *) longest=256 ;;
esac
work=${FUZZ_WORK:-target/corpus}/$target
mkdir -p "$work" "artifacts/$target" "corpus/$target"
dictionary=()
[ ! -e "dictionaries/$target" ] || dictionary=("-dict=dictionaries/$target")
"$binary" -max_total_time="$seconds" -max_len="$longest" -rss_limit_mb=1024 -timeout=10 \
  -artifact_prefix="artifacts/$target/" -print_final_stats=1 "${dictionary[@]}" "$@" \
  "$work" "corpus/$target"

# The smallest set with the same coverage, small files only.
merged=$(mktemp -d)
trap 'rm -rf "$merged"' EXIT
"$binary" -set_cover_merge=1 -max_len="$longest" -rss_limit_mb=1024 "$merged" "corpus/$target" "$work" 2> /dev/null
# shellcheck disable=SC2012 # the names are digests
ls -S -r "$merged" | head -n "${FUZZ_KEEP:-160}" | while read -r name; do
  cp -n "$merged/$name" "corpus/$target/$name"
done
