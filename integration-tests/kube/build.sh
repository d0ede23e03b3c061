#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build.sh BIN: builds Kubernetes 1.20.2 (API server, controller manager, scheduler, kubelet) into BIN out of Debian
# bookworm's own source package, which is the whole upstream tree. Debian packages none of the four, only the client.
# A quarter of an hour on two cores and 3.2 GB below KUBE_SCRATCH (default: BIN/../build), which is removed afterwards; with the
# binaries of this recipe already in BIN, nothing. Nothing is installed: Go and one Go library are only unpacked.
set -euo pipefail
recipe=1
parts=(kube-apiserver kube-controller-manager kube-scheduler kubelet)
here=$(cd "$(dirname "$0")" && pwd)

mkdir -p "$1"
bin=$(cd "$1" && pwd)
[[ $(cat "$bin/recipe" 2>/dev/null) != "$recipe" ]] || exit 0

work=${KUBE_SCRATCH:-$bin/../build}
mkdir -p "$work"
work=$(cd "$work" && pwd)
free=$(($(df --output=avail -k "$work" | tail -n 1) / 1024))
if ((free < 3600)); then
    echo "building Kubernetes needs 3600 MB below $work, and $free are free: make room, or set KUBE_SCRATCH to a folder with room" >&2
    exit 1
fi
echo "building Kubernetes below $work, once: a quarter of an hour on two cores" >&2
cd "$work"
rm -rf k sys debs # of a build that was cut off; what Go compiled then is kept
mkdir -p lists/partial cache/archives/partial debs tmp

# The machine's own Debian mirror, asked for sources too, beside its own lists.
mirror=$("$here/../debian-mirror.sh")
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" > src.list
apart=(-o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o "Dir::Etc::sourcelist=$work/src.list" -o Dir::Etc::sourceparts=/dev/null)
root=(-o APT::Sandbox::User=root)
apt-get "${apart[@]}" "${root[@]}" -qq update
apt-get "${apart[@]}" "${root[@]}" -qq source --download-only kubernetes/bookworm
dpkg-source --no-check -x kubernetes_*.dsc k > /dev/null
(
    cd debs
    apt-get -qq "${root[@]}" download golang-1.19-go/bookworm golang-1.19-src/bookworm golang-github-modern-go-reflect2-dev/bookworm
    for deb in *.deb; do dpkg -x "$deb" ../sys; done
)

# The reflect2 1.0.1 of the vendor folder crashes under Go 1.18 and later (a POST of a DaemonSet: nil map iterator); Debian has 1.0.2.
vendored=k/vendor/github.com/modern-go/reflect2
rm -f $vendored/*.go $vendored/*.s
cp sys/usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} $vendored/

cd k
mkdir -p .go/src/k8s.io
ln -sfn ../../.. .go/src/k8s.io/kubernetes
export GOROOT=$work/sys/usr/lib/go-1.19 GOPATH=$PWD/.go GOCACHE=$work/gocache GOPROXY=off GOFLAGS=-mod=vendor CGO_ENABLED=0 TMPDIR=$work/tmp
PATH=$GOROOT/bin:$PATH make -s GOFLAGS=-mod=vendor WHAT="${parts[*]/#/cmd/}" >&2
for part in "${parts[@]}"; do strip -o "$bin/$part" "_output/local/bin/linux/amd64/$part"; done
echo $recipe > "$bin/recipe"
cd /
# Go marks its module cache read-only.
chmod -R u+w "$work" && rm -rf "$work"
