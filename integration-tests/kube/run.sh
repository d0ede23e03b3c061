#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Starts a real Kubernetes node and kepler (debug build) beside it as a process of the host, lets pods come and go, then runs the
# image that test-image made as the DaemonSet of deploy/kubernetes, and writes down what kepler, the kubelet and the clocks
# said: .cache/kube/results, which src/bin/kube.rs judges. Needs root and Debian bookworm. Nine minutes, and the first time a
# quarter of an hour more (build.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/integration-tests/kube
cache=$PWD/.cache/kube
bin=$cache/bin
run=${KUBE_RUN:-$cache/run}
results=$cache/results
api=https://127.0.0.1:16443
kubelet=http://127.0.0.1:20255

die() {
    printf '%s\n' "$@" >&2
    exit 1
}
((EUID == 0)) || die "a Kubernetes node needs root"
"$here/build.sh" "$bin"
rm -rf "$results"
mkdir -p "$results" "$run"
run=$(cd "$run" && pwd -P)
cargo build --quiet --locked -p actors --bin kepler
kepler=${CARGO_TARGET_DIR:-target}/debug/kepler

pids=()
clean_up() {
    ((${#pids[@]} == 0)) || kill "${pids[@]}" 2> /dev/null || true
    wait 2> /dev/null || true
    "$here/node.sh" "$bin" "$run" down
}
trap clean_up EXIT

admin() { kubectl --kubeconfig "$run/admin.kubeconfig" "$@"; }
# CLOCK_REALTIME and CLOCK_MONOTONIC in nanoseconds: the kubelet tells the one, kepler the other.
clocks() { python3 -c 'import time; print(time.time_ns(), time.monotonic_ns())'; }
now() { date +%s%N; }
event() { echo "$(now) $*" >> "$results/events"; }
say() { echo "== $*" >&2; }

# login ACCOUNT: a kubeconfig of that service account, with the server's certificate verified.
login() {
    local secret token
    for _ in {1..100}; do
        secret=$(admin -n kepler get serviceaccount "$1" -o 'jsonpath={.secrets[0].name}' 2> /dev/null || true)
        [[ -z $secret ]] || break
        sleep 0.2
    done
    token=$(admin -n kepler get secret "$secret" -o 'jsonpath={.data.token}' | base64 -d)
    cat > "$run/$1.kubeconfig" <<K
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "$api", certificate-authority: "$run/certs/apiserver.crt"}}]
users: [{name: u, user: {token: "$token"}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
K
}

# daemon NAME PORT ACCOUNT WAIT: kepler with that account's rights, which shows a container without its name after this time.
# Only what is needed here is metered and shown.
daemon() {
    mkdir -p "$results/$1"
    env -u KUBECONFIG "$kepler" --listen "127.0.0.1:$2" --tick 500ms --set log.format=json --set log.level=debug \
        --set sources.cpu=estimator --set sources.dram=estimator --set sources.platform=estimator --set 'sources.gpu=[]' \
        --set 'exporter.levels=["node","container","pod"]' \
        --set "kubernetes.wait=$4" --set kubernetes.mode=api --set "kubernetes.kubeconfig=$run/$3.kubeconfig" --set kubernetes.node_name=localhost \
        2> "$results/$1/log" < /dev/null &
    pids+=($!)
    echo $! > "$results/$1/pid"
    for _ in {1..200}; do
        curl -sf "127.0.0.1:$2/readyz" > /dev/null && return
        [[ -d /proc/$(cat "$results/$1/pid") ]] || die "kepler ended:" "$(tail "$results/$1/log")"
        sleep 0.1
    done
    die "kepler is not ready:" "$(tail "$results/$1/log")"
}

# frame NAME PORT NUMBER: both pages. OpenMetrics say also since when a counter counts.
frame() {
    local at=$results/$1/$3
    curl -s "127.0.0.1:$2/api/v1/snapshot" > "$at.snapshot" &&
        curl -s -H 'Accept: application/openmetrics-text;version=1.0.0' "127.0.0.1:$2/metrics" > "$at.metrics" || rm -f "$at".*
}

# record NAME PORT: both pages again and again, and what the kubelet counted and knows.
record() {
    local number at=$results/$1
    for number in {1000..1999}; do
        frame "$1" "$2" "$number"
        # The summary dates its figures to whole seconds. Those of containers are read for the answer, so this tells when; those
        # of pods are some seconds old, and are dated to the millisecond on another page.
        now > "$at/$number.asked"
        curl -s "$kubelet/stats/summary?only_cpu_and_memory=true" > "$at/$number.summary" || true
        now >> "$at/$number.asked"
        curl -s "$kubelet/metrics/cadvisor" | grep '^container_cpu_usage_seconds_total' > "$at/$number.cadvisor" || true
        curl -s "$kubelet/pods" > "$at/$number.pods" || true
        sleep 0.7
    done
}

# wait_for WHAT COMMAND..: two minutes or so at most; what does not come is for the judge to miss.
wait_for() {
    local about=$1
    shift
    for _ in {1..240}; do
        if "$@" > /dev/null 2>&1; then
            event "$about"
            return
        fi
        sleep 0.5
    done
    say "waited in vain: $about"
}

has_phase() { [[ $(admin -n shop get pods -l "$1" -o 'jsonpath={.items[*].status.phase}') == *"$2"* ]]; }
# runs NAME COUNT: by the kubelet, which knows also what the API server does not.
runs() {
    curl -s "$kubelet/pods" | jq -e --arg name "$1" --argjson count "$2" '[.items[] | select(.metadata.name | startswith($name))
        | select([.status.containerStatuses[]?.state.running] | (length > 0 and all))] | length >= $count'
}
has_restarted() {
    [[ $(admin -n shop get pod loop -o 'jsonpath={.status.containerStatuses[0].restartCount}') -ge $1 ]]
}
# names PORT POD: whether the metrics have a pod's name.
names() { [[ $(curl -s "127.0.0.1:$1/metrics" | grep -c "^kepler_container_bpf_cpu_time_ms_total{.*pod_name=\"$2") -gt 0 ]]; }

source "$here/daemonset.sh"

"$here/node.sh" "$bin" "$run" down
say "starting the node"
"$here/node.sh" "$bin" "$run" up
admin apply -f "$here/rights.yaml" > /dev/null
login kepler
login stranger
cut -d ' ' -f 1 /proc/loadavg > "$results/load"
admin version -o json 2> /dev/null | jq -r .serverVersion.gitVersion > "$results/version"

clocks > "$results/clocks"
# Longer than the API server is away: whoever comes meanwhile waits for its name.
daemon main 28291 kepler 3m
record main 28291 &
pids+=($!)
recorder=$!

say "pods come"
"$here/pods.py" first | admin apply -f - > /dev/null
wait_for "all run" runs web 2
event "steady"
sleep 40
say "a pod is deleted"
admin -n shop delete pod gone --wait=false > /dev/null
event "gone deleted"
wait_for "batch ended" has_phase job-name=batch Succeeded
wait_for "loop restarted" has_restarted 3

say "the API server is away for 20 s"
event "api down"
"$here/node.sh" "$bin" "$run" api-down
"$here/pods.py" static > "$run/manifests/static.json"
sleep 20
event "api coming"
"$here/node.sh" "$bin" "$run" api-up
event "api up"
for _ in {1..50}; do "$here/pods.py" late | admin apply -f - > /dev/null 2>&1 && break || sleep 0.5; done
wait_for "late runs" runs late 1
wait_for "late named" names 28291 late
wait_for "static runs" runs static 1
wait_for "static named" names 28291 static
sleep 20
kill "$recorder"
wait "$recorder" 2> /dev/null || true
[[ -d /proc/$(cat "$results/main/pid") ]] && echo yes > "$results/main/alive"
kill "$(cat "$results/main/pid")"
clocks >> "$results/clocks"

say "without rights"
daemon denied 28292 stranger 1s
sleep 5
frame denied 28292 1
sleep 10
frame denied 28292 2
admin create clusterrolebinding stranger --clusterrole=kepler --serviceaccount=kepler:stranger > /dev/null
event "granted"
wait_for "denied named" names 28292 web
sleep 3
frame denied 28292 3
curl -s "$kubelet/pods" > "$results/denied/3.pods"
[[ -d /proc/$(cat "$results/denied/pid") ]] && echo yes > "$results/denied/alive"
kill "$(cat "$results/denied/pid")"

say "the image as a DaemonSet"
as_daemonset
echo done > "$results/done"
say "the node stops"
