#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Boots Debian's kernels in QEMU and runs the tests of probes/ebpf/tests/kernel and probes/workloads/tests/real_tree.rs,
# `kepler check`, and the rows of tests/fault_matrix that need a machine of their own, in each. Needs no KVM and no root. What the
# guests said is in .cache/kernels/results; src/bin/kernels.rs and src/bin/faults.rs read it.
#   run.sh [KERNEL[:TEST]]...   KERNEL: 5.10, 6.1, 6.12, newest (all without arguments); TEST: a pattern of test names
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/integration-tests/guest
suite=kernels
cache=$PWD/.cache/kernels
results=$cache/results
source "$here/lib.sh"
rm -rf "$results"
mkdir -p "$results"

# The name, and what Debian calls the package that has vmlinuz. From Debian 14 on it is linux-binary.
kernels=(
    '5.10   linux-image-5\.10\.0-[0-9]+-cloud-amd64'
    '6.1    linux-image-6\.1\.0-[0-9]+-cloud-amd64'
    '6.12   linux-image-6\.12\.[0-9.]+\+deb12-cloud-amd64'
    'newest linux-binary-[0-9.]+\+deb[0-9]+-cloud-amd64'
)

# fetch NAME PATTERN: the newest package of that name, or the one of the last time. Says where its vmlinuz is.
fetch() {
    local package folder=$cache/$1
    package=$(packages "$2" | tail -n 1)
    if [[ -n $package && ! -e $folder/$package ]]; then
        mkdir -p "$folder"
        if unpack "$folder/tree" "$package"; then
            find "$folder/tree" -name 'vmlinuz*' -type f -exec cp {} "$folder/$package" \;
        fi
        rm -rf "$folder/tree"
    fi
    find "$folder" -maxdepth 1 -type f 2>/dev/null | sort -V | tail -n 1
}

make_initramfs() {
    local messages tests objects name
    messages=$(cargo test --locked "${optimised[@]}" -p probe-ebpf -p probe-workloads -p integration-tests \
        --test kernel --test real_tree --test fault_matrix --no-run --message-format=json-render-diagnostics)
    objects=$(sed -n 's/.*"reason":"build-script-executed".*probes\/ebpf.*"out_dir":"\([^"]*\)".*/\1/p' <<<"$messages")
    new_root dash true sleep taskset
    ln -s dash "$root/usr/bin/sh"
    add_daemon
    for name in kernel real_tree fault_matrix; do
        tests=$(sed -n 's/.*"name":"'$name'".*"executable":"\([^"]*\)".*/\1/p' <<<"$messages")
        add "$tests" "/tests/$name"
        strip -g "$root/tests/$name"
    done
    # What the tests find by the paths that they were compiled with.
    mkdir -p "$root$PWD/target/tmp" "$root$objects"
    cp "$objects"/*.bpf.o "$root$objects"
    cp "$here/init" "$root/init"
}

say_load
update_lists bullseye bullseye-security bookworm bookworm-security bookworm-backports sid
make_initramfs
wanted=("$@")
((${#wanted[@]})) || wanted=(5.10 6.1 6.12 newest)
for want in "${wanted[@]}"; do
    found=
    for kernel in "${kernels[@]}"; do
        read -r name pattern <<<"$kernel"
        [[ $name == "${want%%:*}" ]] || continue
        found=yes
        vmlinuz=$(fetch "$name" "$pattern")
        [[ -n $vmlinuz ]] || die "no package like $pattern, here or at deb.debian.org"
        tests='*'
        [[ $want == *:* ]] && tests="*${want#*:}*"
        echo "$tests" >"$root/only"
        try_boot 3 "$name" "$vmlinuz" 2400 -machine q35 -cpu max -smp 2
        if [[ $tests == '*' ]]; then
            # A machine sleeps well once, and the daemon's row has had that. What the guest said goes behind what it said before.
            echo '*::a_machine_that_slept_*' >"$root/only"
            try_boot 3 asleep "$vmlinuz" 300 -machine q35 -cpu max -smp 2
            sed -n '/^@begin test/,/^@end/p' "$results/asleep.log" >>"$results/$name.log"
            rm "$results"/asleep.*
        fi
    done
    [[ -n $found ]] || die "$want is none of: 5.10 6.1 6.12 newest"
done
