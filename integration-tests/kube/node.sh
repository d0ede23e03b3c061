#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# node.sh BIN RUN up|down|api-down|api-up: one real Kubernetes node on the loopback, of the binaries that build.sh made; what
# it needs besides lies in RUN. Not for production: fixed tokens. Pods need hostNetwork: true and imagePullPolicy: Never.
#   https://127.0.0.1:16443     API server, token "admin"; its certificate: RUN/certs/apiserver.crt; RUN/admin.kubeconfig
#   http://127.0.0.1:20255      kubelet, read only: /pods, /stats/summary; the node is called localhost
#   RUN/containerd.sock         containerd, namespace k8s.io
#   RUN/manifests               static pods
# Its pods live below the cgroup KUBE_CGROUP (/test-kube): a kubelet ends every pod below its root that it does not know,
# and this machine may be somebody's node.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$1 run=$2 what=$3
mkdir -p "$run"
run=$(cd "$run" && pwd -P) bin=$(cd "$bin" && pwd)
api=https://127.0.0.1:16443
sock=$run/containerd.sock
root=${KUBE_CGROUP:-/test-kube}

start() {
    local name=$1
    shift
    "$@" >> "$name.log" 2>&1 < /dev/null &
    echo $! > "$name.pid"
}

# end NAME..: by the recorded ids, and waits for them.
end() {
    local name pid
    for name in "$@"; do
        pid=$(cat "$run/$name.pid" 2> /dev/null) || continue
        kill "$pid" 2> /dev/null || true
        for _ in {1..100}; do [[ -d /proc/$pid ]] && sleep 0.1 || break; done
        [[ ! -d /proc/$pid ]] || kill -KILL "$pid" 2> /dev/null || true
        rm -f "$run/$name.pid"
    done
}

# wait_for WHAT COMMAND..: a minute at most.
wait_for() {
    local about=$1
    shift
    for _ in {1..300}; do
        "$@" > /dev/null 2>&1 && return
        sleep 0.2
    done
    echo "the node does not start: no $about; see $run/*.log" >&2
    exit 1
}

answers() { [[ $(curl -sk -m 2 -H 'Authorization: Bearer admin' "$api/readyz") == ok ]]; }
is_ready() {
    curl -sk -H 'Authorization: Bearer admin' "$api/api/v1/nodes/localhost" |
        jq -e '.status.conditions[] | select(.type == "Ready" and .status == "True")'
}

hierarchies() { findmnt -rno TARGET -t cgroup,cgroup2; }

down() {
    local ctr=(ctr -a "$sock" -n k8s.io) tree
    # The kubelet first, or it starts its pods again.
    end kubelet scheduler controllers
    if [[ -S $sock ]]; then
        "${ctr[@]}" task ls -q | xargs -r -n1 "${ctr[@]}" task kill -s KILL > /dev/null 2>&1 || true
        sleep 1
        "${ctr[@]}" container ls -q | xargs -r -n1 "${ctr[@]}" container rm > /dev/null 2>&1 || true
    fi
    end apiserver etcd containerd
    findmnt -rno TARGET | grep "^$run/" | sort -r | xargs -r -n1 umount 2> /dev/null || true
    for tree in $(hierarchies); do
        [[ ! -d $tree$root ]] || find "$tree$root" -depth -type d -exec rmdir {} + 2> /dev/null || true
    done
    if [[ -e $run/logs-are-ours ]]; then
        rm -rf /var/log/pods /var/log/containers "$run/logs-are-ours"
    fi
}

start_api() {
    start apiserver "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:12379 --bind-address=127.0.0.1 \
        --advertise-address=127.0.0.1 --secure-port=16443 --insecure-port=0 --cert-dir="$run/certs" \
        --service-account-key-file=sa.pub --service-account-signing-key-file=sa.key \
        --service-account-issuer=https://kubernetes.default.svc --api-audiences=https://kubernetes.default.svc \
        --token-auth-file=tokens.csv --authorization-mode=RBAC --service-cluster-ip-range=10.250.0.0/24 \
        --kubelet-client-certificate=kc.crt --kubelet-client-key=kc.key --endpoint-reconciler-type=none --allow-privileged=true
    wait_for "API server" answers
}

write_secrets() {
    openssl genrsa -out sa.key 2048 2> /dev/null
    openssl rsa -in sa.key -pubout -out sa.pub 2> /dev/null
    # The API server's own certificate towards the kubelet.
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=test-ca -keyout ca.key -out ca.crt 2> /dev/null
    openssl req -newkey rsa:2048 -nodes -subj /O=system:masters/CN=apiserver -keyout kc.key -out kc.csr 2> /dev/null
    openssl x509 -req -days 30 -in kc.csr -CA ca.crt -CAkey ca.key -set_serial 1 -out kc.crt 2> /dev/null
    echo 'admin,admin,1,"system:masters"' > tokens.csv
    cat > admin.kubeconfig <<K
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "$api", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: admin}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
K
}

write_settings() {
    cat > kubelet.yaml <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: 20250
readOnlyPort: 20255
healthzPort: 0
cgroupDriver: cgroupfs
cgroupRoot: "$root"
failSwapOn: false
staticPodPath: "$run/manifests"
fileCheckFrequency: 1s
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$run/ca.crt"}}
authorization: {mode: Webhook}
imageGCHighThresholdPercent: 100
evictionHard: {nodefs.available: "1%", imagefs.available: "1%", memory.available: "100Mi"}
syncFrequency: 5s
nodeStatusUpdateFrequency: 2s
K
    mkdir -p cni manifests
    echo '{"cniVersion":"0.4.0","name":"lo","plugins":[{"type":"loopback"}]}' > cni/10-lo.conflist
    cat > containerd.toml <<K
version = 2
root = "$run/ctd-root"
state = "$run/ctd-state"
[grpc]
  address = "$sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$run/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "$here/runc-nocap.sh"
K
}

# image NAME FILE COMMAND..: one static program.
image() {
    local name=$1 file=$2
    shift 2
    mkdir -p "layer/$name"
    install "$file" "layer/$name/$name"
    tar -C "layer/$name" -cf layer.tar .
    "$here/image.py" image.tar "localhost/$name:1" layer.tar "$@"
    ctr -a "$sock" -n k8s.io image import image.tar > /dev/null
}

# A cgroup root has to be there already, with CPUs and memory nodes of its own where cpusets are.
make_cgroup() {
    local tree file
    for tree in $(hierarchies); do
        mkdir -p "$tree$root"
        for file in cpuset.cpus cpuset.mems; do
            [[ ! -e $tree/$file ]] || cat "$tree/$file" > "$tree$root/$file"
        done
    done
}

up() {
    if curl -sk -m 1 "$api" > /dev/null; then
        echo "port 16443 is taken: is another such node up?" >&2
        exit 1
    fi
    # The kubelet's places for logs cannot be moved, and it removes there what it does not know.
    if compgen -G '/var/log/pods/*' > /dev/null; then
        echo "/var/log/pods is not empty: this machine is a Kubernetes node already, which this would disturb" >&2
        exit 1
    fi
    touch logs-are-ours
    rm -rf ./*.log etcd manifests kubelet kpki certs ctd-root ctd-state
    write_secrets
    write_settings
    make_cgroup
    start etcd etcd --data-dir "$run/etcd" --listen-client-urls http://127.0.0.1:12379 \
        --advertise-client-urls http://127.0.0.1:12379 --listen-peer-urls http://127.0.0.1:12380 \
        --initial-advertise-peer-urls http://127.0.0.1:12380 --initial-cluster default=http://127.0.0.1:12380
    start containerd containerd -c containerd.toml
    start_api
    start controllers "$bin/kube-controller-manager" --kubeconfig=admin.kubeconfig --bind-address=127.0.0.1 --secure-port=20257 \
        --port=0 --cert-dir="$run/kcm" --service-account-private-key-file=sa.key --root-ca-file="$run/certs/apiserver.crt" \
        --use-service-account-credentials=true --leader-elect=false
    start scheduler "$bin/kube-scheduler" --kubeconfig=admin.kubeconfig --bind-address=127.0.0.1 --secure-port=20259 \
        --port=0 --cert-dir="$run/sched" --leader-elect=false
    [[ -e pause ]] || echo 'int pause(void); int main(void) { for (;;) pause(); }' | gcc -xc -static -Os -o pause -
    wait_for containerd ctr -a "$sock" version
    image pause pause /pause
    image busybox "$(command -v busybox)" /busybox sh
    # Its built-in code for clouds asks the network otherwise. Its own counts of CPU time are read every two seconds.
    AWS_EC2_METADATA_DISABLED=true start kubelet "$bin/kubelet" --config=kubelet.yaml --kubeconfig=admin.kubeconfig \
        --root-dir="$run/kubelet" --container-runtime=remote --container-runtime-endpoint="unix://$sock" \
        --housekeeping-interval=2s --hostname-override=localhost --cert-dir="$run/kpki"
    wait_for "node that is ready" is_ready
}

cd "$run"
case $what in
up) up ;;
down) down ;;
api-down) end apiserver ;;
api-up) start_api ;;
*)
    echo "usage: $0 BIN RUN up|down|api-down|api-up" >&2
    exit 2
    ;;
esac
