#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The daemon beside a real NVIDIA GPU and a real load: joules by the GPU's own counter and by the daemon, and the split between two
# processes of known, different load. Needs python3 with torch and nvidia-ml-py, and a built daemon; neither network nor
# cargo. Changes no setting of the GPU. Takes about three minutes; best on a GPU that nobody else uses.
#
#   real.sh KEPLER [FOLDER]     tables on stdout and in FOLDER/real.txt; everything raw in FOLDER/real.json
set -euo pipefail

kepler=${1:?usage: real.sh KEPLER [FOLDER]}
out=${2:-$(mktemp -d)}
python3 -c 'import pynvml' || { echo "needs nvidia-ml-py: pip install nvidia-ml-py" >&2; exit 2; }
mkdir -p "$out"
python3 "$(dirname "$0")/real.py" "$kepler" "$out" 2>&1 | tee "$out/real.txt"
