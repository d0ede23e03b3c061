#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the daemon for amd64 or arm64 and lays what its image holds into a folder:
#
#   deploy/image/build.sh OUT [amd64|arm64]
#
# For another architecture than this machine's it needs that one's Rust standard library (taken by rustup where that is
# there) and its cross compiler (gcc-aarch64-linux-gnu or gcc-x86-64-linux-gnu on Debian).
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1
here=$(uname -m)
case "${2:-}" in
amd64) machine=x86_64 ;;
arm64) machine=aarch64 ;;
'') machine=$here ;;
*)
    echo "build.sh: no image for \"$2\"; there are amd64 and arm64" >&2
    exit 2
    ;;
esac
target=$machine-unknown-linux-gnu
gcc=gcc
if [[ $machine != "$here" ]]; then
    gcc=$machine-linux-gnu-gcc
    [[ $machine == x86_64 ]] && gcc=x86_64-linux-gnu-gcc
    if ! command -v "$gcc" >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "gcc-${machine/_/-}-linux-gnu" "libc6-dev-${2}-cross" >/dev/null
    fi
    command -v rustup >/dev/null && rustup target add "$target"
    name=${target^^}
    export "CARGO_TARGET_${name//-/_}_LINKER=$gcc" "CC_${target//-/_}=$gcc"
fi

cargo build --release --locked -p actors --bin kepler --target "$target"
built=${CARGO_TARGET_DIR:-target}/$target/release/kepler

mkdir -p "$out"/{usr/bin,etc/kepler,etc/ssl/certs,usr/share/doc/kepler,usr/share/sbom,var/lib/kepler,run/kepler,tmp}
chmod 1777 "$out/tmp"
# Without symbols: names in a backtrace are 6 MB of every node's download, and a panic names its file and line without them.
strip=${gcc%gcc}strip
"$strip" --strip-all -o "$out/usr/bin/kepler" "$built"

# library NAME: where the linker would find it.
library() {
    local path
    path=$("$gcc" -print-file-name="$1")
    [[ $path == /* ]] || path=$(find /lib /usr/lib "/usr/$machine-linux-gnu/lib" -name "$1" -print -quit 2>/dev/null)
    [[ -e $path ]] || {
        echo "build.sh: $1 is needed and not here" >&2
        exit 1
    }
    readlink -f "$path"
}
needed() { "${gcc%gcc}readelf" -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

folder=$out/lib/$machine-linux-gnu
mkdir -p "$folder"
# What it is linked against, and what glibc loads by name when a host's name is looked up.
waiting=$(needed "$built"; echo libnss_files.so.2 libnss_dns.so.2 libresolv.so.2)
while [[ -n $waiting ]]; do
    more=
    for name in $waiting; do
        [[ -e $folder/$name ]] && continue
        [[ $name == ld-linux* ]] && continue
        cp "$(library "$name")" "$folder/$name"
        more+=" $(needed "$folder/$name")"
    done
    waiting=${more// /}
    [[ -z $waiting ]] || waiting=$more
done
case $machine in
x86_64) mkdir -p "$out/lib64" && cp "$(library ld-linux-x86-64.so.2)" "$out/lib64/ld-linux-x86-64.so.2" ;;
aarch64) cp "$(library ld-linux-aarch64.so.1)" "$out/lib/ld-linux-aarch64.so.1" ;;
esac
printf 'hosts: files dns\n' >"$out/etc/nsswitch.conf"
printf 'kepler:x:65532:65532::/:/sbin/nologin\n' >"$out/etc/passwd"
printf 'kepler:x:65532:\n' >"$out/etc/group"
chown 65532:65532 "$out/var/lib/kepler" "$out/run/kepler"
# Whom to trust, for a BMC or an API server with a public certificate.
[[ ! -e /etc/ssl/certs/ca-certificates.crt ]] || cp /etc/ssl/certs/ca-certificates.crt "$out/etc/ssl/certs/"
cp LICENSE-APACHE LICENSE-GPL2 "$out/usr/share/doc/kepler/"
deploy/image/sbom.py "$target" >"$out/usr/share/sbom/kepler.cdx.json"
