#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# For the scripts that boot guests, to be sourced: Debian's packages without installing them, an initramfs, and QEMU until
# the guest has said everything. The caller sets `suite` (its name in messages), `cache` (its folder under .cache) and
# `results`.

die() {
    printf "$suite: %s\n" "$@" >&2
    exit 1
}

# update_lists SUITE..: apt with lists and a cache of our own: the system's stay as they are.
update_lists() {
    local name archive sources=$cache/apt/sources.list
    command -v apt-get dpkg-deb >/dev/null ||
        die "the kernels come from Debian by apt-get and dpkg-deb, which are not here"
    mkdir -p "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial"
    apt_options=(-qq -o "Dir::Etc::sourcelist=$sources" -o Dir::Etc::sourceparts=- -o "Dir::State=$cache/apt"
        -o "Dir::Cache=$cache/apt/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
    for name in "$@"; do
        archive=debian
        [[ $name == *-security ]] && archive=debian-security
        echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
            "http://deb.debian.org/$archive $name main"
    done >"$sources"
    apt-get "${apt_options[@]}" update || echo "$suite: the lists are those of the last time, or none"
}

# packages PATTERN: the names that Debian has, the newest last.
packages() { apt-cache "${apt_options[@]}" pkgnames | grep -E "^$1\$" | sort -V || true; }

# unpack FOLDER PACKAGE..: downloads them and lays their files out in FOLDER.
unpack() {
    local folder=$1 package
    shift
    mkdir -p "$folder.new"
    (cd "$folder.new" && apt-get "${apt_options[@]}" download "$@") >&2 &&
        for package in "$folder.new"/*.deb; do dpkg-deb -x "$package" "$folder"; done
    local worked=$?
    rm -rf "$folder.new"
    return $worked
}

# new_root PROGRAM..: an empty root file system in $root with the programs, busybox and a shell.
new_root() {
    local place program
    root=$(mktemp -d)
    trap 'rm -rf "$root" "$root.socket"; kill $(jobs -p) 2>/dev/null || true' EXIT
    mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,dev,proc,sys,tmp,applets}
    for place in bin sbin lib lib64; do ln -s "usr/$place" "$root/$place"; done
    for program in "$@"; do add "$(type -P "$program")" "/usr/bin/$program"; done
    install "$(type -P busybox)" "$root/usr/bin/busybox"
}

# add FILE [PLACE]: FILE with the libraries that it needs, at its own path or at PLACE.
add() {
    local library
    install -D "$1" "$root${2:-$1}"
    for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do
        [[ -e $root$library ]] || install -D "$library" "$root$library"
    done
}

# What reads the kernel's types (BTF) whenever a probe is opened: unoptimised, an emulator takes 1.7 s for each.
optimised=()
for crate in aya aya-obj object; do
    optimised+=(--config "profile.dev.package.$crate.opt-level=2")
done

# add_daemon: builds kepler and puts it into $root.
add_daemon() {
    cargo build --locked "${optimised[@]}" -p actors
    add target/debug/kepler /usr/bin/kepler
    strip -g "$root/usr/bin/kepler"
}

# add_module NAME..: Debian's of $tree or ours of $cache/modules into $root, and what they depend on. Those without a file are
# built into the kernel.
add_module() {
    local name file place=$root/lib/modules/$release
    mkdir -p "$place"
    for name in "$@"; do
        name=${name//-/_}
        [[ -e $place/$name.ko ]] && continue
        file=$(find "$cache/modules" "$tree/lib/modules" -name "${name//_/[-_]}.ko*" 2>/dev/null | head -n 1 || true)
        case $file in
        *.xz) xz -dc "$file" >"$place/$name.ko" ;;
        *.ko) cp "$file" "$place/$name.ko" && strip -g "$place/$name.ko" ;;
        *) die "there is no module $name in $tree" ;;
        esac
        # shellcheck disable=SC2046 # Names of modules.
        add_module $(grep -az '^depends=' "$place/$name.ko" | tr -d '\0' | sed 's/^depends=//' | tr , ' ')
    done
}

# pack FILE: $root as an initramfs.
pack() { (cd "$root" && find . -mindepth 1 | cpio -o -H newc --quiet | gzip -1) >"$1"; }

# boot NAME VMLINUZ SECONDS OPTION..: until the guest has said everything, or for SECONDS. At most 2 CPUs: with four on
# two cores, RCU stalls.
# tsc=reliable: the emulated time stamp counters are the host's and agree, but a CPU that waits for its host thread makes a
# kernel doubt it; then the scheduler's clock and CLOCK_MONOTONIC are two clocks that differ by up to 2 %.
boot() {
    local name=$1 vmlinuz=$2 seconds=$3 qemu monitor asleep=0 began=$EPOCHSECONDS
    shift 3
    rm -f "$cache/monitor"
    mkfifo "$cache/monitor"
    exec {monitor}<>"$cache/monitor"
    pack "$cache/initramfs.gz"
    echo "$(basename "$vmlinuz"), host's load $(cut -d ' ' -f 1 /proc/loadavg) of $(nproc)" >"$results/$name.package"
    : >"$results/$name.log"
    qemu-system-x86_64 -accel tcg,thread=multi -m 1024 "$@" \
        -nodefaults -no-user-config -display none -no-reboot -monitor stdio \
        -serial "file:$results/$name.console" -serial "file:$results/$name.log" \
        -kernel "$vmlinuz" -initrd "$cache/initramfs.gz" -append "console=ttyS0 panic=-1 quiet tsc=reliable" \
        <&"$monitor" >"$results/$name.qemu" 2>&1 &
    qemu=$!
    # A guest that has been asleep is not always able to power off: its last word is the end.
    while kill -0 "$qemu" 2>/dev/null && ((EPOCHSECONDS - began < seconds)); do
        grep -q '^@done' "$results/$name.log" && break
        # A guest that went to sleep is woken after some seconds, until it says that it is awake.
        if (($(grep -c '@asleep' "$results/$name.log") > $(grep -c '@awake' "$results/$name.log"))); then
            asleep=$((asleep + 1))
            if ((asleep > 6)); then echo system_wakeup >&"$monitor"; fi
        else
            asleep=0
        fi
        sleep 1
    done
    kill "$qemu" 2>/dev/null || true
    wait "$qemu" || true
    exec {monitor}>&-
    echo "$suite: $name ($(basename "$vmlinuz")) took $((EPOCHSECONDS - began)) s"
    grep -q '^@done' "$results/$name.log"
}

# QEMU's threads do not always agree on code that the kernel patches: one may run into a breakpoint that another has
# removed already, where a tracepoint is switched off. That is the emulator's fault, and the guest's end.
emulator_failed() { grep -q 'Oops: int3\|int3: 0000' "$results/$1.console"; }

# try_boot TIMES NAME ..: boot, and once more whenever the emulator failed.
try_boot() {
    local times=$1 try
    shift
    for ((try = 1; try <= times; try++)); do
        boot "$@" && return
        emulator_failed "$1" || return 0
        echo "$suite: $1: the emulator ran into a breakpoint that was gone; the console is in $results/$1.try$try"
        mv "$results/$1.console" "$results/$1.try$try"
    done
}

# say_load: before the first guest.
say_load() {
    local load
    load=$(cut -d ' ' -f 1 /proc/loadavg)
    ((${load%.*} < $(nproc))) ||
        echo "$suite: the load is $load: emulated CPUs that wait for real ones compare badly with any clock"
}
