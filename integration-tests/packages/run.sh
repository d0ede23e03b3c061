#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Debian and the RPM package: what is in them, and the Debian one installed, reloaded, upgraded, removed and purged in a
# guest with a real systemd (QEMU, emulated). Says what it saw, one line a check; ends with 1 when one of them failed.
# Needs root (debootstrap) and Debian; `make packages` first.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/integration-tests/packages
suite=packages
cache=$PWD/.cache/packages
results=$cache/results
source "$here/../guest/lib.sh"
((EUID == 0)) || die "debootstrap needs root"
rm -rf "$results"
mkdir -p "$results"
failed=0
target=${CARGO_TARGET_DIR:-target}
newest() { find "$target/$1" -name "$2" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-; }
deb=$(newest debian 'kepler_*.deb')
rpm=$(newest generate-rpm 'kepler-*.rpm')
[[ -n $deb && -n $rpm ]] || die "there are no packages in $target: make packages first"

holds() {
    local what=$1
    shift
    if "$@" >"$results/said" 2>&1; then
        echo "ok      $what"
    else
        echo "FAILED  $what"
        sed 's/^/        /' "$results/said" | tail -n 15
        failed=1
    fi
}
lists() {
    local name
    for name in "${@:2}"; do
        grep -qE "(^|[ /])$name\$" "$results/$1" || { echo "no $name in:" && cat "$results/$1" && return 1; }
    done
}
dpkg-deb -c "$deb" >"$results/deb.files"
rpm -qpl "$rpm" >"$results/rpm.files" 2>/dev/null
unit=usr/lib/systemd/system/kepler.service
holds "the .deb has program, unit, settings and licences" lists deb.files usr/bin/kepler "$unit|lib/systemd/system/kepler.service" etc/kepler/kepler.toml usr/share/doc/kepler/copyright
holds "the .rpm has program, unit, settings and licences" lists rpm.files usr/bin/kepler "$unit" etc/kepler/kepler.toml usr/share/licenses/kepler/LICENSE-APACHE
completions=(usr/share/bash-completion/completions/kepler usr/share/fish/vendor_completions.d/kepler.fish)
holds "the .deb has manual pages and completions" lists deb.files usr/share/man/man1/kepler.1.gz usr/share/man/man1/kepler-top.1.gz "${completions[@]}" usr/share/zsh/vendor-completions/_kepler
holds "the .rpm has manual pages and completions" lists rpm.files usr/share/man/man1/kepler.1 usr/share/man/man1/kepler-top.1 "${completions[@]}" usr/share/zsh/site-functions/_kepler
holds "the .rpm asks for the C library that it was built with" grep -q 'libc.so.6(GLIBC' <(rpm -qp --requires "$rpm" 2>/dev/null)
holds "the unit is exposed by less than 3 of 10" bash -c "systemd-analyze security --offline=true --threshold=30 deploy/systemd/kepler.service"
grep -o 'Overall exposure.*' "$results/said" | sed 's/^/        /' || true

# Debian with systemd as the guest's root, in memory.
fetch_kernel() {
    local image
    image=$(packages 'linux-image-6\.12\.[0-9.]+\+deb12-amd64' | tail -n 1)
    tree=$cache/${image#linux-image-}
    if [[ -n $image && ! -e $tree/complete ]]; then
        rm -rf "$tree"
        if unpack "$tree" "$image"; then touch "$tree/complete"; fi
    fi
    [[ -e $tree/complete ]] || tree=$(find "$cache" -mindepth 2 -maxdepth 2 -name complete -printf '%h\n' 2>/dev/null | sort -V | tail -n 1)
    [[ -n $tree ]] || die "no linux-image-6.12, here or in Debian's archive"
}
update_lists bookworm bookworm-security bookworm-backports
fetch_kernel
release=$(basename "$tree")
mirror=$("$here/../debian-mirror.sh")
base=$cache/base
if [[ ! -e $base/whole ]]; then
    rm -rf "$base"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps,curl,ca-certificates bookworm "$base" "$mirror" >"$cache/debootstrap.log"
    rm -rf "$base"/var/cache/apt/* "$base"/var/lib/apt/lists/* "$base"/usr/share/{doc,locale,man}
    touch "$base/whole"
fi
root=$(mktemp -d)
trap 'rm -rf "$root"; kill $(jobs -p) 2>/dev/null || true' EXIT
cp -a "$base/." "$root/"
cp "$deb" "$root/root/kepler.deb"
install -m 755 "$here/payload.sh" "$root/root/payload.sh"
cat >"$root/etc/systemd/system/payload.service" <<'U'
[Unit]
After=dbus.service multi-user.target
[Service]
ExecStart=/bin/bash -c '/root/payload.sh >/dev/ttyS1 2>&1; echo @done >/dev/ttyS1; systemctl poweroff --force --force'
[Install]
WantedBy=graphical.target
U
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../payload.service "$root/etc/systemd/system/multi-user.target.wants/"
ln -sf /sbin/init "$root/init"
say_load
boot systemd "$tree/boot/vmlinuz-$release" 400 -m 3072 -smp 2 || die "the guest did not end:" "$(tail "$results/systemd.log")" "$(tail "$results/systemd.console")"
sed 's/\r$//' "$results/systemd.log" | grep -v '^@done'
if grep -q '^FAILED' "$results/systemd.log" || ! grep -q '^ok ' "$results/systemd.log"; then failed=1; fi
exit $failed
