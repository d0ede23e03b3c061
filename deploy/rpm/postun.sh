# SPDX-License-Identifier: Apache-2.0
if command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
