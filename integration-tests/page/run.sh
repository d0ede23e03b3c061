#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The live page in headless Chromium: `run.sh DAEMON`. Takes the browser from the system; the driver and axe come from npm, as locked.
set -euo pipefail
DAEMON="$(realpath "$1")"
export DAEMON
cd "$(dirname "$0")"
CHROMIUM="${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}"
export CHROMIUM
npm ci --ignore-scripts --no-audit --no-fund --silent
exec node --test --test-concurrency=1 --test-reporter=spec page.test.js
