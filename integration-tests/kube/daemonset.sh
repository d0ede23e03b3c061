# SPDX-License-Identifier: Apache-2.0
# For run.sh, to be sourced: the image as the DaemonSet of deploy/kubernetes. It becomes ready, is restarted, is deleted, and asks the
# kubelet instead of the API server; meanwhile both pages and what the kubelet counted are written down below $results/pod.

pod_port=28293

# start_aside COMMAND..: in the background, ended with this script.
start_aside() {
    "$@" &
    pids+=($!)
}
its_pods() { admin -n kepler get pods -l app.kubernetes.io/name=kepler -o json; }
# ready_pod: the name of the only pod there is, if it is ready and is not on its way out.
ready_pod() {
    its_pods | jq -er '.items | if length == 1 then .[0] else empty end | select(.metadata.deletionTimestamp == null)
        | select(any(.status.conditions[]?; .type == "Ready" and .status == "True")) | .metadata.name'
}
# another_is_ready NAME: than that one.
another_is_ready() { [[ $(ready_pod) != "$1" && -n $(ready_pod) ]]; }
follow() { start_aside admin -n kepler logs -f "$1" >> "$results/pod/log"; }

# look POD: what the kernel lets its process do, and what it says of this machine itself.
look() {
    local container pid
    its_pods | jq '.items[0]' > "$results/pod/object"
    container=$(jq -r '.status.containerStatuses[0].containerID | split("://")[1]' "$results/pod/object")
    pid=$(ctr -a "$run/containerd.sock" -n k8s.io task ls | awk -v id="$container" '$1 == id { print $2 }')
    cp "/proc/$pid/status" "$results/pod/status"
    admin -n kepler exec "$1" -- /usr/bin/kepler check --config /etc/kepler/kepler.toml > "$results/pod/check" 2>&1 || true
}

import_image() {
    local image=$PWD/.cache/image/kepler-amd64.tar
    [[ -e $image ]] || die "there is no $image: make test-image first"
    ctr -a "$run/containerd.sock" -n k8s.io image import "$image" > /dev/null
    tar -xOf "$image" "$(tar -xOf "$image" manifest.json | jq -r '.[0].Config')" > "$results/pod/image"
    stat -c %s "$image" > "$results/pod/image-bytes"
}

as_daemonset() {
    local first second third
    mkdir -p "$results/pod" "$run/meter" "$run/kubelet-ca"
    rm -rf "$run/state"
    cp "$run/kpki/kubelet.crt" "$run/kubelet-ca/"
    import_image
    start_aside "$here/meter.py" "$run/meter" "$results/pod/meter"
    start_aside "$here/poll.py" "$pod_port" > "$results/pod/ready"
    event "daemonset applied"
    kubectl kustomize --load-restrictor LoadRestrictionsNone "$here/overlay" | sed "s#@RUN@#$run#" | admin apply -f - > /dev/null
    wait_for "pod ready" ready_pod
    first=$(ready_pod) || die "the pod is not ready:" "$(admin -n kepler get events | tail)" "$(admin -n kepler logs daemonset/kepler 2>&1 | tail)"
    follow "$first"
    start_aside record pod "$pod_port"
    recorder=$!
    wait_for "pod names" names "$pod_port" web
    sleep 45
    look "$first"

    say "a rolling restart"
    event "restart asked for"
    admin -n kepler rollout restart daemonset/kepler > /dev/null
    wait_for "pod restarted" another_is_ready "$first"
    second=$(ready_pod)
    follow "$second"
    ls -l "$run/state" > "$results/pod/state"
    sleep 40

    say "its pod is deleted"
    event "pod deleted"
    admin -n kepler delete pod "$second" --wait=false > /dev/null
    wait_for "pod replaced" another_is_ready "$second"
    third=$(ready_pod)
    follow "$third"
    sleep 40

    say "it asks the kubelet"
    admin apply -f "$here/overlay/kubelet-rights.yaml" > /dev/null
    event "kubelet asked for"
    admin -n kepler set env daemonset/kepler KEPLER_KUBERNETES__MODE=kubelet > /dev/null
    wait_for "pod with kubelet" another_is_ready "$third"
    follow "$(ready_pod)"
    wait_for "kubelet names" names "$pod_port" web
    sleep 40
    kill "$recorder"
    wait "$recorder" 2> /dev/null || true
    its_pods | jq '.items[0]' > "$results/pod/last-object"
    event "daemonset done"
    admin -n kepler delete daemonset kepler > /dev/null
}
