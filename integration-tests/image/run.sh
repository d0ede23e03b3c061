#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the image by deploy/Dockerfile with a real engine, for this machine and across for arm64, and runs it: with no rights at
# all, and with those of docs/hardening.md. Says what it saw, one line a check; ends with 1 when one of them failed. Needs
# root and Debian. IMAGE_OUT=FILE also keeps the image of this machine as a tar file.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/integration-tests/image
cache=$PWD/.cache/image
mkdir -p "$cache"
work=$(mktemp -d)
failed=0
most_bytes=30000000

say() { echo "== $*" >&2; }
# holds WHAT COMMAND..: a check.
holds() {
    local what=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        echo "ok      $what"
    else
        echo "FAILED  $what"
        sed 's/^/        /' "$work/said" | tail -n 15
        failed=1
    fi
}

pids=()
clean_up() {
    ((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

export DOCKER_HOST=unix://$work/d.sock DOCKER_BUILDKIT=0
dockerd --bridge none --iptables=false -H "$DOCKER_HOST" --data-root "$cache/data" --exec-root "$work/exec" --pidfile "$work/d.pid" \
    >"$cache/dockerd.log" 2>&1 &
pids+=($!)
for _ in {1..100}; do
    docker version >/dev/null 2>&1 && break
    sleep 0.2
done

say "the builder"
"$here/builder.sh" kepler-builder "$cache"
revision=$(git rev-parse --short=12 HEAD)
version=$(cargo metadata --no-deps --format-version 1 | jq -r '.packages[] | select(.name == "actors").version')
build() {
    say "building for $1"
    docker build -q --network none -f deploy/Dockerfile --build-arg BUILDER=kepler-builder --build-arg "TARGETARCH=$1" \
        --build-arg "REVISION=$revision" --build-arg "VERSION=$version" -t "kepler:$1" . >/dev/null
}
build amd64
build arm64

inspect() { docker image inspect -f "$2" "kepler:$1"; }
is_small() {
    echo "$(inspect "$1" '{{.Size}}') bytes"
    (($(inspect "$1" '{{.Size}}') < most_bytes))
}
for arch in amd64 arm64; do
    docker create --name "root-$arch" "kepler:$arch" >/dev/null
    mkdir -p "$work/$arch"
    docker export "root-$arch" | tar -C "$work/$arch" -x
    docker rm "root-$arch" >/dev/null
    echo "        kepler:$arch has $(inspect "$arch" '{{.Size}}') bytes, $(find "$work/$arch" -type f | wc -l) files"
    holds "kepler:$arch is below 30 MB" is_small "$arch"
    holds "kepler:$arch has no shell" test ! -e "$work/$arch/bin/sh"
    holds "kepler:$arch says what is in it" jq -e '(.components | length > 100) and all(.components[]; .version != null)' "$work/$arch/usr/share/sbom/kepler.cdx.json"
    holds "kepler:$arch is labelled" test "$(inspect "$arch" '{{index .Config.Labels "org.opencontainers.image.revision"}}')" = "$revision"
    holds "kepler:$arch runs as nobody" test "$(inspect "$arch" '{{.Config.User}}')" = 65532:65532
done
holds "the program for arm64 is one for arm64" grep -q 'ARM aarch64' <(file "$work/arm64/usr/bin/kepler")
emulated() { qemu-aarch64-static -L "$work/arm64" "$work/arm64/usr/bin/kepler" "$@"; }
answers_as_here() {
    local ask=(estimate --cpu 'AMD EPYC 7763' --chips 2 --memory-gib 256 --busy 0,0.5,1)
    diff <(emulated "${ask[@]}") <("$work/amd64/usr/bin/kepler" "${ask[@]}")
}
holds "the program for arm64 runs, in an emulator" emulated --version
holds "an estimate on arm64 is that of amd64, to the last digit" answers_as_here

# runs NAME PORT OPTION..: a container whose root cannot be written, and what it serves.
runs() {
    local name=$1 port=$2
    shift 2
    docker run -d --name "$name" --read-only --security-opt no-new-privileges --pid host --network host --cgroupns host "$@" \
        kepler:amd64 --listen "127.0.0.1:$port" --set log.format=json --set state.dir= >/dev/null
    for _ in {1..150}; do
        curl -sf "127.0.0.1:$port/readyz" >/dev/null && return
        sleep 0.1
    done
    docker logs "$name"
    return 1
}
has() { curl -s "127.0.0.1:$1/metrics" | grep -E "$2"; }
stops() {
    docker stop -t 10 "$1" >/dev/null
    [[ $(docker inspect -f '{{.State.ExitCode}}' "$1") == 0 ]]
}
holds "it is ready with no rights at all" runs bare 28401 --cap-drop ALL
holds "... and says that it has no eBPF" has 28401 '^kepler_probe_up\{probe="iter_task"\} 0'
holds "... and bills processes all the same" has 28401 '^kepler_process_joules_total\{'
holds "... and stops when it is told to" stops bare
holds "it is ready with four capabilities" runs four 28402 --user 0:0 --cap-drop ALL --cap-add BPF --cap-add PERFMON \
    --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH --security-opt seccomp=unconfined -v /sys:/sys:ro
holds "... and has eBPF" has 28402 '^kepler_probe_up\{probe="(iter_task|sched_switch)"\} 1'
holds "... and knows containers" has 28402 '^kepler_container_joules_total\{'
holds "... and stops when it is told to" stops four
docker rm -f bare four >/dev/null 2>&1 || true
[[ -z ${IMAGE_OUT:-} ]] || docker save -o "$IMAGE_OUT" kepler:amd64
exit $failed
