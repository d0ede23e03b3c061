# SPDX-License-Identifier: Apache-2.0
if [ "$1" = 0 ] && command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then
    systemctl disable --now kepler.service
fi
