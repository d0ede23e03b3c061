#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Boots Debian's kernels in QEMU and runs the tests of probes/ebpf/tests/kernel and `kepler check` in each. Needs no KVM
# and no root. What the guests said is in .cache/kernels/results; src/bin/kernels.rs reads it.
#   run.sh [KERNEL[:TEST]]...   KERNEL: 5.10, 6.1, 6.12, newest (all without arguments); TEST: a pattern of test names
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/integration-tests/guest
cache=$PWD/.cache/kernels
results=$cache/results
rm -rf "$results"
mkdir -p "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial" "$results"

# The name, and what Debian calls the package that has vmlinuz. From Debian 14 on it is linux-binary.
kernels=(
    '5.10   linux-image-5\.10\.0-[0-9]+-cloud-amd64'
    '6.1    linux-image-6\.1\.0-[0-9]+-cloud-amd64'
    '6.12   linux-image-6\.12\.[0-9.]+\+deb12-cloud-amd64'
    'newest linux-binary-[0-9.]+\+deb[0-9]+-cloud-amd64'
)

die() {
    printf 'kernels: %s\n' "$@" >&2
    exit 1
}

command -v apt-get dpkg-deb >/dev/null || die "the kernels come from Debian by apt-get and dpkg-deb, which are not here"

# apt with lists and a cache of our own: the system's stay as they are.
sources=$cache/apt/sources.list
apt_options=(-qq -o "Dir::Etc::sourcelist=$sources" -o Dir::Etc::sourceparts=- -o "Dir::State=$cache/apt"
    -o "Dir::Cache=$cache/apt/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
update_lists() {
    local suite archive
    for suite in bullseye bullseye-security bookworm bookworm-security bookworm-backports sid; do
        archive=debian
        [[ $suite == *-security ]] && archive=debian-security
        echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
            "http://deb.debian.org/$archive $suite main"
    done >"$sources"
    apt-get "${apt_options[@]}" update || echo "kernels: the lists are those of the last time, or none"
}

# fetch NAME PATTERN: the newest package of that name, or the one of the last time. Says where its vmlinuz is.
fetch() {
    local package folder=$cache/$1
    package=$(apt-cache "${apt_options[@]}" pkgnames | grep -E "^$2\$" | sort -V | tail -n 1 || true)
    if [[ -n $package && ! -e $folder/$package ]]; then
        mkdir -p "$folder/new"
        if (cd "$folder/new" && apt-get "${apt_options[@]}" download "$package") >&2; then
            dpkg-deb -x "$folder"/new/*.deb "$folder/tree"
            find "$folder/tree" -name 'vmlinuz*' -type f -exec cp {} "$folder/$package" \;
        fi
        rm -rf "$folder/new" "$folder/tree"
    fi
    find "$folder" -maxdepth 1 -type f 2>/dev/null | sort -V | tail -n 1
}

# add FILE [PLACE]: FILE with the libraries that it needs, at its own path or at PLACE.
add() {
    local library
    install -D "$1" "$root${2:-$1}"
    for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do
        [[ -e $root$library ]] || install -D "$library" "$root$library"
    done
}

make_initramfs() {
    local messages tests objects program crate optimised=()
    # What reads the kernel's types (BTF) whenever a probe is opened: unoptimised, an emulator takes 1.7 s for each.
    for crate in aya aya-obj object; do
        optimised+=(--config "profile.dev.package.$crate.opt-level=2")
    done
    messages=$(cargo test --locked "${optimised[@]}" -p probe-ebpf --test kernel --no-run \
        --message-format=json-render-diagnostics)
    tests=$(sed -n 's/.*"name":"kernel".*"executable":"\([^"]*\)".*/\1/p' <<<"$messages")
    objects=$(sed -n 's/.*"reason":"build-script-executed".*probes\/ebpf.*"out_dir":"\([^"]*\)".*/\1/p' <<<"$messages")
    cargo build --locked "${optimised[@]}" -p actors
    root=$(mktemp -d)
    trap 'rm -rf "$root"; kill $(jobs -p) 2>/dev/null || true' EXIT
    mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,dev,proc,sys,tmp,applets}
    for program in bin sbin lib lib64; do ln -s "usr/$program" "$root/$program"; done
    for program in dash true sleep taskset; do add "$(type -P "$program")" "/usr/bin/$program"; done
    ln -s dash "$root/usr/bin/sh"
    install "$(type -P busybox)" "$root/usr/bin/busybox"
    add "$tests" /tests
    add target/debug/kepler /usr/bin/kepler
    strip -g "$root/tests" "$root/usr/bin/kepler"
    # What the tests find by the paths that they were compiled with.
    mkdir -p "$root$PWD/target/tmp" "$root$objects"
    cp "$objects"/*.bpf.o "$root$objects"
    cp "$here/init" "$root/init"
}

# boot NAME VMLINUZ TESTS: until it has said everything. At most 2 CPUs: with four on two cores, RCU stalls.
# tsc=reliable: the emulated time stamp counters are the host's and agree, but a CPU that waits for its host thread makes a
# kernel doubt it; then the scheduler's clock and CLOCK_MONOTONIC are two clocks that differ by up to 2 %.
boot() {
    local name=$1 vmlinuz=$2 qemu monitor asleep=0 began=$EPOCHSECONDS
    rm -f "$cache/monitor"
    mkfifo "$cache/monitor"
    exec {monitor}<>"$cache/monitor"
    echo "$3" >"$root/only"
    (cd "$root" && find . -mindepth 1 | cpio -o -H newc --quiet | gzip -1) >"$cache/initramfs.gz"
    echo "$(basename "$vmlinuz"), host's load $(cut -d ' ' -f 1 /proc/loadavg) of $(nproc)" >"$results/$name.package"
    : >"$results/$name.log"
    qemu-system-x86_64 -accel tcg,thread=multi -machine q35 -cpu max -smp 2 -m 1024 \
        -nodefaults -no-user-config -display none -no-reboot -monitor stdio \
        -serial "file:$results/$name.console" -serial "file:$results/$name.log" \
        -kernel "$vmlinuz" -initrd "$cache/initramfs.gz" -append "console=ttyS0 panic=-1 quiet tsc=reliable" \
        <&"$monitor" >"$results/$name.qemu" 2>&1 &
    qemu=$!
    # A guest that has been asleep is not always able to power off: its last word is the end.
    while kill -0 "$qemu" 2>/dev/null && ((EPOCHSECONDS - began < 1200)); do
        grep -q '^@done' "$results/$name.log" && break
        # A guest that went to sleep is woken after some seconds, until it says that it is awake.
        if (($(grep -c '@asleep' "$results/$name.log") > $(grep -c '@awake' "$results/$name.log"))); then
            asleep=$((asleep + 1))
            if ((asleep > 3)); then echo system_wakeup >&"$monitor"; fi
        else
            asleep=0
        fi
        sleep 1
    done
    kill "$qemu" 2>/dev/null || true
    wait "$qemu" || true
    exec {monitor}>&-
    echo "kernels: $name ($(basename "$vmlinuz")) took $((EPOCHSECONDS - began)) s"
    grep -q '^@done' "$results/$name.log"
}

# QEMU's threads do not always agree on code that the kernel patches: one may run into a breakpoint that another has
# removed already, where a tracepoint is switched off. That is the emulator's fault, and the guest's end.
emulator_failed() { grep -q 'Oops: int3\|int3: 0000' "$results/$1.console"; }

load=$(cut -d ' ' -f 1 /proc/loadavg)
((${load%.*} < $(nproc))) ||
    echo "kernels: the load is $load: emulated CPUs that wait for real ones compare badly with any clock"
update_lists
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
        for try in 1 2 3; do
            boot "$name" "$vmlinuz" "$tests" && break
            emulator_failed "$name" || break
            echo "kernels: $name: the emulator ran into a breakpoint that was gone; the console is in $results/$name.try$try"
            mv "$results/$name.console" "$results/$name.try$try"
        done
    done
    [[ -n $found ]] || die "$want is none of: 5.10 6.1 6.12 newest"
done
