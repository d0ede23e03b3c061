#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The daemon beside a real NVIDIA GPU. Needs python3 with torch and nvidia-ml-py, and a built daemon; neither network nor
# cargo. Changes no setting of the GPU. Each takes about three minutes; best on a GPU that nobody else uses.
#
#   run.sh real KEPLER [FOLDER]     joules by the GPU's own counter and by the daemon, and the split between two processes of
#                                   known, different load; everything raw in FOLDER/real.json
#   run.sh faults KEPLER [FOLDER]   the daemon stopped, without descriptors, reloaded, killed, and a user of the GPU killed;
#                                   fails where a law does not hold
#
# Tables on stdout and in FOLDER/real.txt or FOLDER/faults.txt.
set -euo pipefail

what=${1:-}
kepler=${2:-}
[[ $what =~ ^(real|faults)$ && $kepler ]] || { echo "usage: run.sh real|faults KEPLER [FOLDER]" >&2; exit 2; }
out=${3:-$(mktemp -d)}
python3 -c 'import pynvml' || { echo "needs nvidia-ml-py: pip install nvidia-ml-py" >&2; exit 2; }
mkdir -p "$out"
python3 "$(dirname "$0")/$what.py" "$kepler" "$out" 2>&1 | tee "$out/$what.txt"
