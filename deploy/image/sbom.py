#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The crates that are in the daemon, as a CycloneDX 1.5 bill of materials: what `cargo metadata` resolves for one target.

    deploy/image/sbom.py x86_64-unknown-linux-gnu > kepler.cdx.json
"""
import json
import subprocess
import sys


def shipped(metadata, name):
    """Ids of a package and of all that it needs at run time or to be built."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [package["id"] for package in metadata["packages"] if package["name"] == name]
    found = {}
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        kinds = lambda dependency: {kind["kind"] for kind in dependency["dep_kinds"]}
        needed = [dependency["pkg"] for dependency in nodes[package]["deps"] if None in kinds(dependency)]
        found[package] = needed
        waiting += needed
    return found


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksum):
    ref = purl(package)
    entry = {"type": "library", "bom-ref": ref, "name": package["name"], "version": package["version"], "purl": ref}
    if package["license"]:
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def checksums(lock):
    """Of Cargo.lock, by name and version."""
    found, name, version = {}, None, None
    for line in lock.splitlines():
        key, _, value = line.partition(" = ")
        value = value.strip('"')
        if key == "name":
            name = value
        elif key == "version":
            version = value
        elif key == "checksum":
            found[name, version] = value
    return found


def main(target):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    with open(f"{metadata['workspace_root']}/Cargo.lock", encoding="utf-8") as lock:
        sums = checksums(lock.read())
    packages = {package["id"]: package for package in metadata["packages"]}
    needed = shipped(metadata, "actors")
    (daemon,) = (packages[package] for package in needed if packages[package]["name"] == "actors")
    others = sorted((packages[package] for package in needed if package != daemon["id"]), key=lambda p: (p["name"], p["version"]))
    top = component(daemon, None) | {"type": "application", "name": "kepler"}
    del top["purl"]
    json.dump(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {"component": top, "properties": [{"name": "target", "value": target}]},
            "components": [component(package, sums.get((package["name"], package["version"]))) for package in others],
            "dependencies": [{"ref": purl(packages[package]), "dependsOn": sorted(purl(packages[on]) for on in needed[package])} for package in sorted(needed)],
        },
        sys.stdout,
        indent=1,
    )
    print()


if __name__ == "__main__":
    main(sys.argv[1])
