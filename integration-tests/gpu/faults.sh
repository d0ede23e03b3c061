#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Faults beside a real NVIDIA GPU under load: the daemon stopped, without descriptors, reloaded, killed; a user of the GPU killed.
# Needs python3 with torch and nvidia-ml-py, and a built daemon; neither network nor cargo. Changes no setting of the GPU.
# Takes about three minutes. Fails where a law does not hold.
#
#   faults.sh KEPLER [FOLDER]     the table on stdout and in FOLDER/faults.txt
set -euo pipefail

kepler=${1:?usage: faults.sh KEPLER [FOLDER]}
out=${2:-$(mktemp -d)}
python3 -c 'import pynvml' || { echo "needs nvidia-ml-py: pip install nvidia-ml-py" >&2; exit 2; }
mkdir -p "$out"
python3 "$(dirname "$0")/faults.py" "$kepler" "$out" 2>&1 | tee "$out/faults.txt"
