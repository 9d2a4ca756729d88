#!/usr/bin/env bash
# Builds rbuild, then builds and runs the image of testdata/demo with it, pushes it
# to rbuild's own registry and pulls it from there, and shows each command as it goes.
#
# Needs a Debian or Ubuntu with cargo. What else is missing comes from apt. All
# data goes to a temporary directory and is removed at the end; set RBUILD_ROOT
# to keep it somewhere.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)

say() {
  if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n== %s\n' "$*"; fi
}
show() {
  printf '\n$ %s\n' "$*"
  "$@"
}

# Packages whose program is not there yet.
install_missing() {
  local missing=()
  command -v gcc > /dev/null || missing+=(gcc)
  [ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
  command -v busybox > /dev/null || missing+=(busybox-static)
  command -v curl > /dev/null || missing+=(curl)
  [ ${#missing[@]} -gt 0 ] || return 0
  say "Installing ${missing[*]}"
  "${as_root[@]}" apt-get -qq -o Acquire::Retries=5 update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -y -o Acquire::Retries=5 install --no-install-recommends "${missing[@]}" > /dev/null
}

# A directory for the data, not on overlayfs: layers cannot be stacked on one.
temporary_directory() {
  local dir
  for dir in "${TMPDIR:-/tmp}" /var/tmp /dev/shm; do
    if [ -w "$dir" ] && [ "$(stat -f -c %T "$dir")" != overlayfs ]; then
      mktemp -d "$dir/rbuild-try.XXXXXX"
      return
    fi
  done
  echo "no temporary directory that layers can be stacked in: set RBUILD_ROOT" >&2
  return 1
}

free_port() {
  local port
  for port in 8080 8081 8088 18080 28080 38080; do
    (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || { echo "$port"; return; }
  done
  echo "no free port" >&2
  return 1
}

# A root file system of the system's own busybox.
base_tree() {
  local applet
  mkdir -p "$1"/{bin,dev,etc,proc,root,sys,tmp,usr/bin,www}
  cp "$(command -v busybox)" "$1/bin/busybox"
  for applet in $(busybox --list); do
    [ "$applet" = busybox ] || ln -sf busybox "$1/bin/$applet"
  done
  echo 'root:x:0:0:root:/root:/bin/sh' > "$1/etc/passwd"
  echo 'root:x:0:' > "$1/etc/group"
  chmod 1777 "$1/tmp"
}

install_missing

say "Building rbuild"
show cargo build --release --quiet
host=$(rustc -vV | sed -n 's/^host: //p')
program=${CARGO_TARGET_DIR:-target}/$host/release/rbuild

temporary=$(temporary_directory)
export RBUILD_ROOT=${RBUILD_ROOT:-$temporary/data}
export RBUILD_RUN=${RBUILD_RUN:-$temporary/run}
rbuild() { "${as_root[@]}" env "RBUILD_ROOT=$RBUILD_ROOT" "RBUILD_RUN=$RBUILD_RUN" "$program" "$@"; }

registry=
stop_registry() {
  [ -n "$registry" ] || return 0
  "${as_root[@]}" kill "$registry" 2> /dev/null || true
  wait "$registry" 2> /dev/null || true
  registry=
}
clean_up() {
  local code=$?
  stop_registry
  rbuild rm -f rbuild-demo > /dev/null 2>&1 || true
  # Takes down the network that nobody uses any more.
  [ "$RBUILD_ROOT" != "$temporary/data" ] || rbuild system prune -af > /dev/null 2>&1 || true
  "${as_root[@]}" rm -rf "$temporary"
  return $code
}
trap clean_up EXIT

say "A base image, from this system's busybox"
base_tree "$temporary/base"
printf '\n$ tar -C base -c . | rbuild import - busybox\n'
tar -C "$temporary/base" --owner=0 --group=0 --numeric-owner -c . |
  rbuild import -c 'ENV PATH=/usr/bin:/bin' -c 'CMD ["sh"]' - busybox

say "An image of two stages"
show cat testdata/demo/Dockerfile
show rbuild -t user/app testdata/demo
show rbuild images
show rbuild history user/app

say "A container of it"
port=$(free_port)
show rbuild run -d --name rbuild-demo -p "127.0.0.1:$port:80" user/app
show rbuild ps
show curl -fsS --retry 10 --retry-connrefused --retry-delay 1 "http://127.0.0.1:$port/"
show rbuild exec rbuild-demo cat /www/about.txt

say "The same build again: every step comes from the cache"
time show rbuild -t user/app testdata/demo

say "Stopping it"
show rbuild stop -t 1 rbuild-demo
show rbuild rm rbuild-demo

say "A registry of our own: the image goes there and comes back"
printf '\n$ rbuild registry serve --port 0 --quiet &\n'
# Replaces the shell, so that its number is the registry's, or that of sudo, which
# passes signals on.
(exec "${as_root[@]}" env "RBUILD_ROOT=$RBUILD_ROOT" "RBUILD_RUN=$RBUILD_RUN" \
  "$program" registry serve --port 0 --quiet) > "$temporary/registry" &
registry=$!
until grep -q . "$temporary/registry"; do
  kill -0 "$registry" 2> /dev/null || "${as_root[@]}" kill -0 "$registry"
  sleep 0.1
done
cat "$temporary/registry"
host=$(sed -n 's|^Listening on http://||p' "$temporary/registry")
show rbuild tag user/app "$host/user/app"
show rbuild push "$host/user/app"
show rbuild rmi "$host/user/app" user/app
show rbuild run --rm "$host/user/app" cat /www/about.txt
stop_registry
say "That was rbuild. The program is $program."
