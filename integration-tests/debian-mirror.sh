#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints this machine's own Debian mirror, out of apt's sources, of which there may be a file, a folder or both.
set -euo pipefail
lists=(/etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources)
mirror=$(sed -n 's/^URIs: *//p; s/^deb [^h]*\(http[^ ]*\) [a-z]* main.*/\1/p' "${lists[@]}" 2>/dev/null | grep -m 1 '/debian/*$' || true)
if [[ -z $mirror ]]; then
    echo "no Debian mirror in /etc/apt: this test needs a Debian machine whose apt knows one" >&2
    exit 1
fi
echo "$mirror"
