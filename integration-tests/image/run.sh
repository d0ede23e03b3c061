#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the image by deploy/Dockerfile with a real engine, for this machine and across for arm64, and runs it: with no rights at
# all, and with those of docs/hardening.md. Says what it saw, one line a check; ends with 1 when one of them failed. Needs
# root and Debian. The image for amd64 is left in .cache/image/kepler-amd64.tar, for test-kube.
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
    umount "$work/exec/netns/default" 2>/dev/null || true
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
inspect() { docker image inspect -f "$2" "kepler$1"; }
# build ARCH: what cargo has compiled in an earlier run with the same crates is taken up again, until that has a hundred layers.
build() {
    local builder=kepler-builder lock had layers
    say "building for $1"
    lock=$(sha256sum <Cargo.lock)
    read -r had layers < <(inspect "-warm:$1" '{{.Config.Labels.lock}} {{len .RootFS.Layers}}' 2>/dev/null || echo none 0)
    [[ $had != "${lock%% *}" ]] || ((layers > 100)) || builder=kepler-warm:$1
    local build=(docker build -q --network none -f deploy/Dockerfile --build-arg "BUILDER=$builder" --build-arg "TARGETARCH=$1"
        --build-arg "REVISION=$revision" --build-arg "VERSION=$version")
    "${build[@]}" --target build -t kepler-built . >/dev/null
    "${build[@]}" -t "kepler:$1" . >/dev/null
    docker build -q --network none --label "lock=${lock%% *}" -t "kepler-warm:$1" - >/dev/null <<<"FROM kepler-built
RUN rm -rf /out && find /src -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +"
}
build amd64
build arm64

is_small() {
    echo "$(inspect ":$1" '{{.Size}}') bytes"
    (($(inspect ":$1" '{{.Size}}') < most_bytes))
}
for arch in amd64 arm64; do
    docker create --name "root-$arch" "kepler:$arch" >/dev/null
    mkdir -p "$work/$arch"
    docker export "root-$arch" | tar -C "$work/$arch" -x
    docker rm "root-$arch" >/dev/null
    echo "        kepler:$arch has $(inspect ":$arch" '{{.Size}}') bytes, $(find "$work/$arch" -type f | wc -l) files"
    holds "kepler:$arch is below 30 MB" is_small "$arch"
    holds "kepler:$arch has no shell" test ! -e "$work/$arch/bin/sh"
    holds "kepler:$arch says what is in it" jq -e '(.components | length > 100) and all(.components[]; .version != null)' "$work/$arch/usr/share/sbom/kepler.cdx.json"
    holds "kepler:$arch is labelled" test "$(inspect ":$arch" '{{index .Config.Labels "org.opencontainers.image.revision"}}')" = "$revision"
    holds "kepler:$arch runs as nobody" test "$(inspect ":$arch" '{{.Config.User}}')" = 65532:65532
done
holds "the program for arm64 is one for arm64" grep -q 'ARM aarch64' <(file "$work/arm64/usr/bin/kepler")
emulated() { qemu-aarch64-static -L "$work/arm64" "$work/arm64/usr/bin/kepler" "$@"; }
answers_as_here() {
    local ask=(estimate --cpu 'AMD EPYC 7763' --chips 2 --memory-gib 256 --busy 0,0.5,1)
    # By its own C library, which may be newer than this machine's.
    diff <(emulated "${ask[@]}") <(chroot "$work/amd64" /usr/bin/kepler "${ask[@]}")
}
holds "the program for arm64 runs, in an emulator" emulated --version
holds "an estimate on arm64 is that of amd64, to the last digit" answers_as_here

# is_ready PORT: within fifteen seconds.
is_ready() {
    local tried
    for ((tried = 0; tried < 150; tried++)); do
        curl -sf "127.0.0.1:$1/readyz" >/dev/null && return
        sleep 0.1
    done
    return 1
}
# runs NAME PORT OPTION..: a container whose root cannot be written, and what it serves.
runs() {
    local name=$1 port=$2
    shift 2
    docker run -d --name "$name" --read-only --security-opt no-new-privileges --pid host --network host --cgroupns host "$@" \
        kepler:amd64 --listen "127.0.0.1:$port" --set log.format=json --set state.dir= >/dev/null
    is_ready "$port" || { docker logs "$name" && return 1; }
}
# has_no_more PID: BPF (39), PERFMON (38), SYS_PTRACE (19) and DAC_READ_SEARCH (2).
has_no_more() {
    local held
    held=$(sed -n 's/^CapBnd:\s*//p' "/proc/$1/status")
    echo "$held"
    (((16#$held & ~(1 << 39 | 1 << 38 | 1 << 19 | 1 << 2)) == 0))
}
has() { curl -s "127.0.0.1:$1/metrics" | grep -E "$2"; }
stops() {
    docker stop -t 10 "$1" >/dev/null
    [[ $(docker inspect -f '{{.State.ExitCode}}' "$1") == 0 ]]
}
holds "it is ready with no rights at all" runs bare 28401 --cap-drop ALL
holds "... and says that it has no eBPF" has 28401 '^kepler_probe_up\{probe="iter_task",reason=".+"\} 0'
holds "... and bills processes all the same" has 28401 '^kepler_process_joules_total\{'
holds "... and stops when it is told to" stops bare
# runs_four PORT: the four capabilities of docs/hardening.md and no others, by runc itself: the Docker of Debian 12 knows no CAP_BPF.
runs_four() {
    local port=$1 id filter
    id=$(printf 'f%.0s' {1..64})
    mkdir -p "$work/bundle"
    runc spec --bundle "$work/bundle"
    filter='.root = {path: $root, readonly: true}
        | .process.terminal = false | .process.user = {uid: 0, gid: 0} | .process.noNewPrivileges = true | del(.process.rlimits)
        | .process.args = ["/usr/bin/kepler", "--listen", "127.0.0.1:" + $port, "--set", "log.format=json", "--set", "state.dir="]
        | .process.capabilities |= map_values(["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"])
        | .linux.namespaces |= map(select(.type != "pid" and .type != "network" and .type != "cgroup"))
        | .linux.resources = {} | .linux.cgroupsPath = "/docker/" + $id'
    jq --arg root "$work/amd64" --arg port "$port" --arg id "$id" "$filter" "$work/bundle/config.json" >"$work/bundle/new"
    mv "$work/bundle/new" "$work/bundle/config.json"
    runc --root "$work/runc" run --bundle "$work/bundle" four >"$work/four.log" 2>&1 &
    four=$!
    is_ready "$port" || { cat "$work/four.log" && return 1; }
}
stops_four() {
    runc --root "$work/runc" kill four TERM
    wait "$four"
}
holds "it is ready with four capabilities" runs_four 28402
holds "... and has eBPF" has 28402 '^kepler_probe_up\{probe="(iter_task|sched_switch)",reason=""\} 1'
holds "... and knows containers" has 28402 '^kepler_container_joules_total\{container_id="f{64}"'
holds "... and has no other capability than these" has_no_more "$(runc --root "$work/runc" state four | jq .pid)"
holds "... and stops when it is told to" stops_four
holds "it is ready with CAP_SYS_ADMIN, for an engine that knows no CAP_BPF" runs admin 28403 --user 0:0 --cap-drop ALL --cap-add SYS_ADMIN \
    --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH -v /sys:/sys:ro
holds "... and has eBPF, under the engine's own seccomp profile" has 28403 '^kepler_probe_up\{probe="(iter_task|sched_switch)",reason=""\} 1'
holds "... and stops when it is told to" stops admin
docker rm -f bare admin >/dev/null 2>&1 || true
docker save -o "$cache/kepler-amd64.tar" kepler:amd64
exit $failed
