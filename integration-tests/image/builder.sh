#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The image in which deploy/Dockerfile builds, for a machine that reaches no image registry: Debian's newest with its own Rust,
# for this machine's architecture and across for arm64, and with the crates of Cargo.lock.
#
#   builder.sh NAME FOLDER    FOLDER keeps what was downloaded.
set -euo pipefail
name=$1
folder=$2
root=$folder/root
suite=sid
lock=$(sha256sum <Cargo.lock)
lock=${lock%% *}
# It has these crates already.
[[ $(docker image inspect -f '{{.Config.Labels.lock}}' "$name" 2>/dev/null) != "$lock" ]] || exit 0

mirror=$("$(dirname "$0")/../debian-mirror.sh")
mkdir -p "$folder"
if [[ ! -e $root/whole ]]; then
    rm -rf "$root"
    debootstrap --variant=minbase --include=ca-certificates,cargo,rustc,gcc,libc6-dev,python3-minimal "$suite" "$root" "$mirror" >"$folder/debootstrap.log"
    in_root() { DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }
    in_root dpkg --add-architecture arm64
    # A mirror may stand still for a while.
    in_root apt-get update -qq -o Acquire::Check-Valid-Until=false
    in_root apt-get install -y -qq --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross libstd-rust-dev:arm64 >/dev/null
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale,man}
    touch "$root/whole"
fi
cargo fetch --locked --quiet
mkdir -p "$root/cargo/registry"
cp -a "${CARGO_HOME:-$HOME/.cargo}"/registry/{cache,index} "$root/cargo/registry/"
tar -C "$root" -c . | docker import --change "LABEL lock=$lock" --change 'ENV CARGO_HOME=/cargo CARGO_NET_OFFLINE=true PATH=/usr/local/bin:/usr/bin:/bin' - "$name" >/dev/null
