# SPDX-License-Identifier: Apache-2.0
if command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ "$1" = 1 ]; then
        systemctl enable --now kepler.service
    else
        systemctl try-restart kepler.service
    fi
fi
