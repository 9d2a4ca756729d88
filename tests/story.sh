#!/usr/bin/env bash
# The story that every tutorial of containers tells, played from the first `run`
# to `system prune -a`. Each command is shown with its output, and what it should
# have done is looked at: the story ends where something is otherwise.
#
#   tests/story.sh                    builds rbuild and plays it in a data root of its own
#   CLI=... CLI_FLAGS=... tests/story.sh     with another program of that manner
#
# Needs root on a Debian or Ubuntu with busybox-static and docker-registry. The
# store must be empty at the beginning, because the end removes everything in it.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${CLI:-}" ]; then
  cargo build --release --quiet
  host=$(rustc -vV | sed -n 's/^host: //p')
  CLI=${CARGO_TARGET_DIR:-target}/$host/release/rbuild
fi
case $CLI in ./* | */*) CLI=$(realpath "$CLI") ;; esac
read -ra cli <<< "$CLI ${CLI_FLAGS:-}"
name=$(basename "$CLI")

# A directory for the data, not on overlayfs: layers cannot be stacked on one.
temporary_directory() {
  local dir
  for dir in "${TMPDIR:-/tmp}" /var/tmp /dev/shm; do
    if [ -w "$dir" ] && [ "$(stat -f -c %T "$dir")" != overlayfs ]; then
      mktemp -d "$dir/story.XXXXXX"
      return
    fi
  done
  echo "no temporary directory that layers can be stacked in" >&2
  return 1
}
work=$(temporary_directory)
if [[ $name = rbuild* ]]; then
  export RBUILD_ROOT=${RBUILD_ROOT:-$work/root} RBUILD_RUN=${RBUILD_RUN:-$work/run}
fi

for chapter in frame terminal; do
  # shellcheck source=/dev/null
  . "tests/story/$chapter.sh"
done

left=$("${cli[@]}" ps -aq; "${cli[@]}" images -aq; "${cli[@]}" volume ls -q)
if [ -n "$left" ]; then
  echo "the store of \`$CLI\` is not empty, and this story would empty it" >&2
  rmdir "$work"
  exit 1
fi
trap tidy_up EXIT

for chapter in tests/story/[0-9]*.sh; do
  # shellcheck source=/dev/null
  . "$chapter"
done
title "The end: $steps commands, and all did as told"
