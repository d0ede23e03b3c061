#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The committed eBPF objects, with which a machine without clang builds: `rebuild` makes them from bpf/, `check` proves
# that they are what bpf/ says. Both run build.rs itself, as cargo would, so flags are written down once.
set -euo pipefail
cd "$(dirname "$0")"
committed=$PWD/prebuilt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What the objects are shipped for. rustc says their byte order; it needs no std for that.
targets=(x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu)

die() {
    printf 'objects: %s\n' "$@" >&2
    exit 1
}

# try_build HOME OUT TARGET: build.rs, for the crate in HOME; what it says is in OUT.log.
try_build() {
    local endian
    endian=$(rustc --print cfg --target "$3" | sed -n 's/^target_endian="\(.*\)"$/\1/p')
    mkdir -p "$2"
    CARGO_MANIFEST_DIR=$1 OUT_DIR=$2 TARGET=$3 CARGO_CFG_TARGET_ARCH=${3%%-*} CARGO_CFG_TARGET_ENDIAN=$endian \
        "$work/build" >"$2.log"
}

run_build() { try_build "$@" || die "build.rs failed for $3:" "$(grep -E '^cargo::(error|warning)' "$2.log")"; }

# refused WORDS HOME TARGET: build.rs must fail and say so.
refused() {
    ! try_build "$2" "$work/refused" "$3" || die "built, and had to be refused: $1"
    grep -q "^cargo::error=.*$1" "$work/refused.log" || die "refused in other words than '$1':" "$(cat "$work/refused.log")"
}

# bpf/bench is compiled too, but not shipped.
shipped() { (cd bpf && for source in *.bpf.c; do echo "${source%.c}.o"; done); }

# compare WHAT ONE OTHER: all shipped objects of two folders.
compare() {
    local object
    for object in $(shipped); do
        cmp "$2/$object" "$3/$object" || die "$1"
    done
}

rebuild() {
    run_build "$PWD" "$work/out" "${targets[0]}"
    [[ -e $work/out/MANIFEST ]] || die "there is no clang to compile bpf/ with: deploy/install-packages.sh objects"
    rm -rf "$committed"
    mkdir "$committed"
    local object
    for object in $(shipped); do
        install -m 0644 "$work/out/$object" "$committed/$object"
    done
    {
        cat "$work/out/MANIFEST"
        (cd "$committed" && sha256sum -- *.bpf.o | sed 's/^/sha256 /')
    } >"$committed/MANIFEST"
    cat "$committed/MANIFEST"
}

# The clang that made the committed objects, when this machine has it.
same_clang() {
    local recorded name
    recorded=$(sed -n 's/^clang //p' "$committed/MANIFEST")
    for name in "${CLANG:-clang}" clang clang-{22..14}; do
        if [[ $("$name" --version 2>/dev/null | head -n 1) == "$recorded" ]]; then
            echo "$name"
            return
        fi
    done
}

check() {
    local recorded clang target name
    recorded=$(sed -n 's/^clang //p' "$committed/MANIFEST") || die "run: make objects"
    diff <(shipped) <(cd "$committed" && ls -- *.bpf.o) || die "bpf/ and prebuilt/ list different objects; run: make objects"
    (cd "$committed" && sed -n 's/^sha256 //p' MANIFEST | sha256sum --check --quiet) ||
        die "prebuilt/ is not what its MANIFEST says; run: make objects"

    # Without clang, for each machine: refuses objects of other sources, and takes those that are committed.
    for target in "${targets[@]}"; do
        CLANG=none run_build "$PWD" "$work/none-$target" "$target"
        compare "without clang $target gets other objects" "$committed" "$work/none-$target"
    done
    echo "objects: they are of the sources in bpf/, and are taken without clang for ${targets[*]}"

    clang=$(same_clang)
    if [[ -z $clang ]]; then
        echo "skipped: the bytes of the objects, because this machine has no '$recorded' to compile them again"
        return
    fi
    # From two folders with names of different lengths, for each machine.
    for target in "${targets[@]}"; do
        mkdir -p "$work/$target/deeper"
        cp -r bpf prebuilt "$work/$target/deeper"
        CLANG=$clang run_build "$work/$target/deeper" "$work/again-$target" "$target"
        CLANG=$clang run_build "$PWD" "$work/here-$target" "$target"
        compare "$target: the folder is in the bytes" "$work/here-$target" "$work/again-$target"
        if grep -q '\.debug_info' "$work/here-$target/$(shipped | head -n 1)"; then
            echo "skipped: the bytes of the objects, because this machine has no llvm-strip (Debian: apt-get install llvm)"
            return
        fi
        compare "$target: $recorded makes other bytes than those in prebuilt/; run: make objects" \
            "$committed" "$work/here-$target"
    done
    echo "objects: byte-identical for ${targets[*]} from two folders, by $recorded"
}

# What must not be built, and the clang that must not be taken.
check_refusals() {
    local old=$work/old
    mkdir -p "$old" "$work/changed"
    cp -r bpf prebuilt "$work/changed"
    echo '// changed' >>"$work/changed/bpf/kepler.h"
    CLANG=none refused 'other sources' "$work/changed" "${targets[0]}"
    CLANG=none refused 'big-endian' "$PWD" s390x-unknown-linux-gnu
    CLANG=/nonexistent/clang refused 'cannot be started' "$PWD" "${targets[0]}"
    printf '#!/bin/sh\necho "clang version 13.0.1"\n' | install -m 0755 /dev/stdin "$old/clang"
    CLANG=$old/clang refused 'it is clang 13' "$PWD" "${targets[0]}"
    CLANG='' PATH=$old:$PATH run_build "$PWD" "$work/passed-over" "${targets[0]}"
    grep -q '^cargo::warning=clang is passed over: it is clang 13' "$work/passed-over.log" || die "an old clang was taken"
    echo "objects: changed sources, big-endian machines and clangs that will not do are refused"
}

# A whole build of the crate on a machine without clang: a PATH of everything but clang and llvm-strip.
build_without_clang() {
    local out name
    mkdir "$work/bin"
    IFS=:
    for name in $PATH; do
        find "$name/" -maxdepth 1 ! -type d ! -name '*clang*' ! -name 'llvm-strip*' \
            -exec ln -s -t "$work/bin" {} + 2>/dev/null || true # the first of two with one name stays
    done
    unset IFS
    env -u CLANG PATH="$work/bin" cargo build --locked -p probe-ebpf --target-dir ../../target/no-clang \
        --message-format=json-render-diagnostics >"$work/messages"
    out=$(sed -n 's/.*"reason":"build-script-executed".*probes\/ebpf.*"out_dir":"\([^"]*\)".*/\1/p' "$work/messages")
    compare "cargo build without clang embeds other objects" "$committed" "$out"
    echo "objects: cargo build without clang embeds them"
}

rustc --edition 2024 -D warnings -o "$work/build" build.rs
case "${1:-}" in
rebuild) rebuild ;;
check)
    check
    check_refusals
    build_without_clang
    ;;
*) die "usage: $0 rebuild|check" ;;
esac
