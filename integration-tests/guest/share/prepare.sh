#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes what boots a guest with shared folders, in .cache/share: Debian's kernel, and an initramfs with kepler, the drivers of 9p
# and virtiofs, and a reader that keeps a file open. tests/passthrough.rs boots it. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/../../.."
here=$PWD/integration-tests/guest/share
suite=share
cache=$PWD/.cache/share
results=$cache
source "$here/../lib.sh"

# fetch_kernel: the newest 6.12 of Debian, unpacked in $tree; or the one of the last time.
fetch_kernel() {
    local image
    image=$(packages 'linux-image-6\.12\.[0-9.]+\+deb12-amd64' | tail -n 1)
    tree=$cache/${image#linux-image-}
    if [[ -n $image && ! -e $tree/complete ]]; then
        rm -rf "$tree"
        if unpack "$tree" "$image"; then touch "$tree/complete"; fi
    fi
    [[ -e $tree/complete ]] ||
        tree=$(find "$cache" -mindepth 2 -maxdepth 2 -name complete -printf '%h\n' 2>/dev/null | sort -V | tail -n 1)
    [[ -n $tree ]] || die "no linux-image-6.12, here or at deb.debian.org"
}

update_lists bookworm bookworm-security bookworm-backports
fetch_kernel
release=$(basename "$tree")
new_root
# Not add_daemon: no probe is loaded in this guest, so nothing of it has to be optimised.
cargo build --locked -p actors -p integration-tests --bin kepler --bin keep-open
for program in kepler keep-open; do
    add target/debug/$program /usr/bin/$program
    strip -g "$root/usr/bin/$program"
done
add_module 9p 9pnet_virtio
busybox depmod -b "$root" "$release"
cp "$here/init" "$root/init"
cp "$tree/boot/vmlinuz-$release" "$cache/vmlinuz"
pack "$cache/initramfs.gz"
