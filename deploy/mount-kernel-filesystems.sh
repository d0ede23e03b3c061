#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Mounts tracefs and bpffs where a minimal system left them out. The daemon itself needs neither.
set -u
((EUID == 0)) || exit 0
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || echo "tracefs: cannot be mounted here"
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf 2>/dev/null || echo "bpffs: cannot be mounted here"
exit 0
