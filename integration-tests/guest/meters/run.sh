#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Boots Debian's kernel in QEMU with meters: its real drivers over simulated registers, a firmware table, chips and a BMC,
# and kepler beside them. Needs no KVM and no root. What the guests said is in .cache/guest/results; src/bin/meters.rs
# judges it.
#   run.sh [GUEST]...   GUEST: intel, amd, ipmi (all without arguments)
set -euo pipefail
cd "$(dirname "$0")/../../.."
here=$PWD/integration-tests/guest/meters
suite=guest
cache=$PWD/.cache/guest
results=$cache/results
source "$here/../lib.sh"
rm -rf "$results"
mkdir -p "$results"

# fetch_kernel: the newest 6.12 of Debian that has headers to build modules against, unpacked in $tree; or the one of the
# last time. Another series has other inner functions for rapl_sim to call.
fetch_kernel() {
    local version
    for version in $(packages 'linux-headers-6\.12\.[0-9.]+\+deb12-amd64' |
        sed 's/linux-headers-//; s/-amd64$//' | sort -rV); do
        tree=$cache/$version
        [[ -e $tree/complete ]] && return
        rm -rf "$tree"
        if unpack "$tree" "linux-image-$version-amd64" "linux-headers-$version-amd64" \
            "linux-headers-$version-common" "linux-kbuild-$version"; then
            # What they name by absolute paths lies in the tree.
            sed -i "s|^include /usr/src/|include $tree/usr/src/|" "$tree/usr/src/linux-headers-$version-amd64/Makefile"
            touch "$tree/complete"
            return
        fi
    done
    tree=$(find "$cache" -mindepth 2 -maxdepth 2 -name complete -printf '%h\n' 2>/dev/null | sort -V | tail -n 1 || true)
    [[ -n $tree ]] || die "no linux-image-6.12 with its headers, here or at deb.debian.org"
}

# build_modules: ours, into $cache/modules. Without the last variable, pahole is asked for.
build_modules() {
    mkdir -p "$cache/modules"
    cp -u "$here"/modules/* "$cache/modules/"
    make -s -C "$tree/usr/src/linux-headers-$version-amd64" "M=$cache/modules" CONFIG_DEBUG_INFO_BTF_MODULES= modules \
        >"$cache/modules.log" 2>&1 || die "the modules do not build:" "$(tail -n 20 "$cache/modules.log")"
}

make_initramfs() {
    new_root
    add_daemon
    add_module msr rapl intel_rapl_common rapl_sim hwmon_sim acpi_power_meter pmbus i2c_stub i2c_dev ipmi_si ipmi_devintf
    busybox depmod -b "$root" "$release"
    cp "$here/init" "$root/init"
    install -D -t "$root/guests" "$here"/guests/*.sh
    iasl -p "$cache/power-meter" "$here/power-meter.asl" >"$cache/iasl.log" 2>&1 ||
        die "the table does not compile:" "$(tail "$cache/iasl.log")"
}

# start_controller: bmc.py, which says what the guest wants it to (lines `@bmc WORDS`). A second one serves a second try.
start_controller() {
    local state=$cache/bmc log=$results/ipmi.log said= wanted
    echo 344 >"$state"
    while python3 "$here/../bmc.py" --state "$state" --connect "$root.socket"; do :; done >"$results/ipmi.bmc" 2>&1 &
    while sleep 0.3; do
        wanted=$(sed -n 's/\r$//; s/^@bmc //p' "$log" 2>/dev/null | tail -n 1 || true)
        [[ -z $wanted || $wanted == "$said" ]] || echo "$wanted" >"$state"
        said=$wanted
    done &
}

say_load
update_lists bookworm bookworm-security bookworm-backports
fetch_kernel
version=$(basename "$tree")
release=$version-amd64
build_modules
make_initramfs
wanted=("$@")
((${#wanted[@]})) || wanted=(intel amd ipmi)
for name in "${wanted[@]}"; do
    options=()
    case $name in
    intel)
        options=(-cpu qemu64,vendor=GenuineIntel,family=6,model=85,stepping=4 -smp 2,sockets=2,cores=1
            -acpitable "file=$cache/power-meter.aml")
        ;;
    amd) options=(-cpu EPYC -smp 2,sockets=1,cores=2) ;;
    ipmi)
        start_controller
        options=(-cpu qemu64 -smp 2
            -chardev "socket,id=line,path=$root.socket,server=on,wait=off"
            -device ipmi-bmc-extern,chardev=line,id=ours -device isa-ipmi-kcs,bmc=ours
            -device ipmi-bmc-sim,id=qemus -device isa-ipmi-bt,bmc=qemus)
        ;;
    *) die "$name is none of: intel amd ipmi" ;;
    esac
    echo "$name" >"$root/guest"
    try_boot 2 "$name" "$tree/boot/vmlinuz-$release" 300 -machine pc "${options[@]}"
done
