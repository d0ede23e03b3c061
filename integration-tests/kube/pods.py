#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pods.py SCENE: what to apply, as JSON. Every busy container has a limit, so that its use of CPU is known and even."""
import json
import sys

SPIN = "while :; do :; done"
# Some CPU time, then its end: how much that is depends on the machine.
WORK = "i=0; while [ $i -lt %d ]; do i=$((i+1)); done"
# Nothing but short processes.
STORM = "while :; do busybox true; done"


def container(name, script, millicores):
    return {"name": name, "image": "localhost/busybox:1", "imagePullPolicy": "Never",
            "command": ["/busybox", "sh", "-c", script],
            "resources": {"limits": {"cpu": f"{millicores}m"}, "requests": {"cpu": f"{millicores // 4}m"}}}


def spec(*containers, **more):
    return {"hostNetwork": True, "terminationGracePeriodSeconds": 1, "containers": list(containers), **more}


def thing(kind, name, spec, version="v1", labels=None):
    return {"apiVersion": version, "kind": kind,
            "metadata": {"name": name, "namespace": "shop", "labels": labels or {"app": name}}, "spec": spec}


def pod(name, spec):
    return thing("Pod", name, spec)


def many(kind, name, spec, **more):
    labels = {"app": name}
    return thing(kind, name, {"selector": {"matchLabels": labels},
                              "template": {"metadata": {"labels": labels}, "spec": spec}, **more}, "apps/v1")


SCENES = {
    # All that runs from the beginning.
    "first": lambda: [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
        many("Deployment", "web", spec(container("server", SPIN, 150)), replicas=2),
        many("Deployment", "duo", spec(container("three", SPIN, 300), container("one", SPIN, 100))),
        many("DaemonSet", "agent", spec(container("agent", SPIN, 50))),
        many("StatefulSet", "db", spec(container("store", SPIN, 50)), serviceName="db"),
        pod("storm", spec(container("storm", STORM, 150))),
        pod("gone", spec(container("victim", SPIN, 100))),
        pod("ready-made", spec(container("main", SPIN, 100),
                               initContainers=[container("prepare", WORK % 400_000, 300)])),
        pod("loop", spec(container("crash", (WORK % 400_000) + "; exit 1", 200))),
        thing("Job", "batch", {"backoffLimit": 0, "template": {
            "spec": spec(container("sum", WORK % 3_000_000, 200), restartPolicy="Never")}}, "batch/v1"),
    ],
    # While the API server is away: the kubelet starts it from a file.
    "static": lambda: [pod("static", spec(container("proxy", SPIN, 100)))],
    # After it came back.
    "late": lambda: [many("Deployment", "late", spec(container("newcomer", SPIN, 100)))],
}

things = SCENES[sys.argv[1]]()
print(json.dumps(things[0] if len(things) == 1 else {"apiVersion": "v1", "kind": "List", "items": things}))
