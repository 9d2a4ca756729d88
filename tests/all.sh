#!/usr/bin/env bash
# Installs what the tests need, then runs every test. Needs root and cargo.
#
# A test that cannot run here fails instead of being skipped, so that a green
# run means that all of them ran; CI=false lets them be skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v gcc > /dev/null || missing+=(gcc)
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
command -v busybox > /dev/null || missing+=(busybox-static)
command -v git > /dev/null || missing+=(git)
command -v skopeo > /dev/null || missing+=(skopeo)
command -v chromium > /dev/null || missing+=(chromium)
command -v docker-registry > /dev/null || missing+=(docker-registry)
command -v openssl > /dev/null || missing+=(openssl)
command -v crun > /dev/null || missing+=(crun)
command -v runc > /dev/null || missing+=(runc)
command -v podman > /dev/null || missing+=(podman)
command -v qemu-system-x86_64 > /dev/null || missing+=(qemu-system-x86)
[ -e /usr/sbin/debootstrap ] || missing+=(debootstrap)
[ -e /usr/sbin/nft ] || missing+=(nftables)
if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get -qq -o Acquire::Retries=5 update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -y -o Acquire::Retries=5 install --no-install-recommends "${missing[@]}" > /dev/null
fi

export CI=${CI:-true}
cargo test --all-targets --no-run --quiet
tests/leftovers.sh snapshot target/leftovers
status=0
cargo test --all-targets "$@" || status=$?
cargo test --doc --quiet || status=$?
tests/leftovers.sh compare target/leftovers || status=$?
exit "$status"
