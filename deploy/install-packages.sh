#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing on a Debian-like machine: `build`, `objects`, `test`, `page`, `containers`, `guest`, `meters`, `vms`,
# `kube`, `deploy`, `image`, `packages`, `bench`, `budgets` or `lint`. Without root it prints the command.
set -euo pipefail

# The build does without clang: it then takes the committed eBPF objects.
case "${1:-}" in
build) wanted="cc:gcc pkg-config:pkg-config" ;;
objects) wanted="clang:clang llvm-strip:llvm" ;;
test) wanted="tmux:tmux promtool:prometheus runc:runc busybox:busybox-static curl:curl qemu-system-x86_64:qemu-system-x86
    /usr/lib/python3/dist-packages/prometheus_client/parser.py:python3-prometheus-client" ;;
# A driver of Chromium and axe come from npm, by the script that starts them.
page) wanted="chromium:chromium node:nodejs npm:npm" ;;
containers) wanted="dockerd:docker.io docker:docker.io containerd:containerd podman:podman runc:runc busybox:busybox-static" ;;
guest) wanted="qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio strip:binutils taskset:util-linux" ;;
# Kernels, their headers and drivers are only downloaded and unpacked, by the script that boots them.
meters) wanted="make:make gcc:gcc iasl:acpica-tools xz:xz-utils python3:python3" ;;
vms) wanted="xz:xz-utils virsh:libvirt-clients libvirtd:libvirt-daemon virt-qemu-run:libvirt-daemon-driver-qemu" ;;
# Go and Kubernetes' sources are only downloaded and unpacked, by the script that builds them.
kube) wanted="etcd:etcd-server containerd:containerd /usr/lib/cni/loopback:containernetworking-plugins runc:runc kubectl:kubernetes-client
    busybox:busybox-static rsync:rsync make:make gcc:gcc dpkg-source:dpkg-dev strip:binutils jq:jq openssl:openssl curl:curl
    python3:python3" ;;
# Helm and the published types come from npm, by the script that starts the test.
deploy) wanted="node:nodejs npm:npm" ;;
image) wanted="dockerd:docker.io docker:docker.io runc:runc debootstrap:debootstrap qemu-aarch64-static:qemu-user-static jq:jq curl:curl file:file" ;;
packages) wanted="debootstrap:debootstrap qemu-system-x86_64:qemu-system-x86 cpio:cpio mkfs.ext4:e2fsprogs rpm:rpm busybox:busybox-static strip:binutils" ;;
bench) wanted="perf:linux-perf taskset:util-linux wrk:wrk" ;;
budgets) wanted="valgrind:valgrind" ;;
lint) wanted="clang-format:clang-format" ;;
*)
    echo "usage: $0 build|objects|test|page|containers|guest|meters|vms|kube|deploy|image|packages|bench|budgets|lint" >&2
    exit 2
    ;;
esac

packages=()
for pair in $wanted; do
    command -v "${pair%%:*}" >/dev/null || [[ -e ${pair%%:*} ]] || packages+=("${pair##*:}")
done

if ((${#packages[@]})); then
    install=(apt-get install -y --no-install-recommends "${packages[@]}")
    if ! command -v apt-get >/dev/null; then
        echo "please install with your package manager: ${packages[*]}" >&2
        exit 1
    elif ((EUID)); then
        echo "please run: sudo apt-get update && sudo ${install[*]}" >&2
        exit 1
    fi
    echo "installing: ${packages[*]}"
    # Packages that start services on installation must not: tests start their own.
    DEBIAN_FRONTEND=noninteractive apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${install[@]}" >/dev/null
fi

if ! command -v cargo >/dev/null; then
    echo "please install a Rust toolchain (1.95 or newer): https://rustup.rs" >&2
    exit 1
fi
case "$1" in
test) command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest ;;
packages)
    command -v cargo-deb >/dev/null || cargo install --locked cargo-deb
    command -v cargo-generate-rpm >/dev/null || cargo install --locked cargo-generate-rpm
    ;;
lint) command -v cargo-deny >/dev/null || cargo install --locked cargo-deny ;;
esac
