#!/usr/bin/env bash
# What tests leave behind: `snapshot FILE` writes down what there is, `compare FILE`
# lists what there is more of, with the test that it came from where that can be
# told, and fails if there is anything.
#
# Looked at: mounts, network devices, nftables tables, namespaces and programs in them,
# programs of the suite's, control groups, loop devices, runtime directories and
# temporary files. `process_api` among the control groups is nobody's business.
set -euo pipefail
cd "$(dirname "$0")/.."

verb=${1:-} file=${2:-}
case $verb in snapshot | compare) ;; *) file= ;; esac
[ -n "$file" ] || { echo "usage: $0 snapshot|compare FILE" >&2; exit 2; }
shopt -s nullglob
# Beneath these the tests note which directory was whose, a file for each run.
places=(target/tmp target/*/tmp)
temporary=${TMPDIR:-/tmp}

# Namespaces of one kind that programs are in, each with the name of one.
namespaces() {
  local kind=$1 process link
  for process in /proc/[0-9]*; do
    link=$(readlink "$process/ns/$kind" 2> /dev/null) || continue
    echo "namespace $link"
  done | sort -u
}

# Programs: those of ours by what they were started as or work in, and all that are
# in other namespaces than this one.
programs() {
  local process id line exe where mine
  mine=$(readlink /proc/self/ns/mnt)
  for process in /proc/[0-9]*; do
    id=${process#/proc/}
    [ "$id" != $$ ] || continue
    line=$({ tr '\0' ' ' < "$process/cmdline"; } 2> /dev/null) || continue
    [ -n "$line" ] || continue
    exe=$(readlink "$process/exe" 2> /dev/null || true)
    case $exe in */rustc | */cargo | */clippy-driver) continue ;; esac
    where="$(readlink "$process/cwd" 2> /dev/null || true) $exe"
    case "$line $where" in
      *leftovers.sh* | *guard.sh*) continue ;;
      *rbuild-* | *"$temporary/.tmp"* | */debug/deps/suite-*) ;;
      *) [ "$(readlink "$process/ns/mnt" 2> /dev/null || echo "$mine")" != "$mine" ] || continue ;;
    esac
    # The start time tells a program from a later one with its number.
    echo "program $id started $(cut -d')' -f2- "$process/stat" 2> /dev/null | awk '{print $20}') ${line:0:160} in ${where%% *}"
  done
}

devices() {
  local device name
  for device in /sys/class/net/*; do
    name=${device##*/}
    echo "device $name $(cat "$device/ifalias" 2> /dev/null || true)"
  done
}

# The group that those of all containers are in stays, as Docker's does.
groups() {
  find /sys/fs/cgroup -type d -name process_api -prune -o -type d -path '*/rbuild/*' -print 2> /dev/null |
    sed 's/^/group /'
}

files() {
  local place
  for place in "$temporary" /dev/shm "${places[@]}"; do
    [ -d "$place" ] || continue
    find "$place" -mindepth 1 -maxdepth 1 \( -name 'rbuild*' -o -name '.tmp*' \) -printf "file %p\n"
  done
  for place in /run/rbuild /var/lib/rbuild; do
    [ ! -d "$place" ] || find "$place" -maxdepth 3 -printf "file %p\n"
  done
}

now() {
  awk '{print "mount " $5}' /proc/self/mountinfo
  devices
  # A filter that is listed while it changes is listed again.
  { nft list tables 2> /dev/null || nft list tables; } | grep ' rbuild' || true
  for kind in net mnt; do namespaces "$kind"; done
  programs
  groups
  grep -H . /sys/block/loop*/loop/backing_file 2> /dev/null | sed 's/^/loop /' || true
  files
}

if [ "$verb" = snapshot ]; then
  mkdir -p "$(dirname "$file")"
  for place in "${places[@]}"; do rm -rf "$place/homes"; done
  now | sort -u > "$file"
  exit
fi

# What is on its way out is waited for: the kernel removes namespaces and their
# devices after the last program has gone.
SECONDS=0
while [ "$SECONDS" -lt 40 ]; do
  left=$(comm -13 "$file" <(now | sort -u))
  [ -n "$left" ] || { echo "nothing is left behind"; exit 0; }
  sleep 0.5
done

# Which test a line is of: by a directory that it names, or by a container's ID
# that is found in such a directory.
whose() {
  local line=$1 directory name id
  while read -r directory name; do
    [ -n "$directory" ] || continue
    case $line in *"$directory"*) echo "$name"; return ;; esac
  done <<< "$homes"
  id=$(grep -oE '[0-9a-f]{64}' <<< "$line" | head -n1 || true)
  [ -n "$id" ] || return 0
  while read -r directory name; do
    [ -z "$directory" ] || [ ! -d "$directory/data/containers/$id" ] || { echo "$name"; return; }
  done <<< "$homes"
}

homes=$(for place in "${places[@]}"; do cat "$place"/homes/* /dev/null; done)
echo "left behind:" >&2
while read -r line; do
  test=$(whose "$line")
  echo "  $line${test:+  [$test]}" >&2
done <<< "$left"
exit 1
