#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""image.py OUT.tar NAME LAYER.tar CMD...: an OCI image archive of one layer, for `ctr image import`."""
import hashlib
import io
import json
import sys
import tarfile

out, name, layer_file, *cmd = sys.argv[1:]
blobs = {}


def put(data, kind):
    digest = hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return {"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + digest, "size": len(data)}


with open(layer_file, "rb") as file:
    layer = put(file.read(), "layer.v1.tar")
config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": cmd}, "history": [],
          "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
config = put(json.dumps(config).encode(), "config.v1+json")
manifest = put(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                           "config": config, "layers": [layer]}).encode(), "manifest.v1+json")
manifest["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
         "index.json": json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()}
files.update({"blobs/sha256/" + digest: data for digest, data in blobs.items()})
with tarfile.open(out, "w") as archive:
    for path, data in files.items():
        entry = tarfile.TarInfo(path)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
