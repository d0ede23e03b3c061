#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the guest: installs the package, looks, reloads, upgrades, removes and purges it.
export DEBIAN_FRONTEND=noninteractive
said=/run/said
holds() {
    local what=$1
    shift
    if "$@" >$said 2>&1; then
        echo "ok      $what"
    else
        echo "FAILED  $what"
        sed 's/^/        /' $said | tail -n 15
    fi
}
# eventually COMMAND..: within two minutes; an emulator is slow.
eventually() {
    local tried
    for ((tried = 0; tried < 240; tried++)); do
        "$@" && return
        sleep 0.5
    done
    journalctl -u kepler --no-pager | tail -n 12
    return 1
}
main_pid() { systemctl show -p MainPID --value kepler; }
metrics() { curl -s localhost:28282/metrics; }
has() { metrics | grep -E "$1"; }
is() { [[ $(systemctl is-active kepler) == "$1" ]]; }
status() { sed -n "s/^$1:\s*//p" "/proc/$(main_pid)/status"; }
not() { ! "$@"; }

holds "it is installed" dpkg -i /root/kepler.deb
holds "it is enabled" systemctl is-enabled kepler
holds "it is started" eventually is active
holds "it is ready" eventually curl -sf localhost:28282/readyz
holds "it is nobody: a dynamic user" not test "$(stat -c %u "/proc/$(main_pid)")" = 0
holds "it has eBPF" has '^kepler_probe_up\{probe="(iter_task|sched_switch)",reason=""\} 1'
holds "it bills units" eventually has '^kepler_unit_joules_total\{unit="payload.service"'
holds "its settings are there" test -f /etc/kepler/kepler.toml
holds "its capabilities are four at most" test "$((16#$(status CapEff) & ~(1 << 39 | 1 << 38 | 1 << 19 | 1 << 2)))" = 0
holds "it is hardened from inside, too" grep -q 'hardened.*landlock' <(journalctl -u kepler --no-pager)
holds "nothing was refused to it" not grep -iE 'not hardened|cannot|denied' <(journalctl -u kepler --no-pager -p warning)

completes() { source /usr/share/bash-completion/completions/kepler && complete -p kepler; }
holds "bash completes its commands" completes
holds "its manual is there" grep -q 'Measures what the software' <(zcat /usr/share/man/man1/kepler.1.gz)

pid=$(main_pid)
echo 'tick = "2s"' >>/etc/kepler/kepler.toml
holds "it reloads" systemctl reload kepler
holds "... as the same process" test "$(main_pid)" = "$pid"
holds "... with the new settings" eventually has '^kepler_config_last_reload_successful 1'
echo 'tick = "fast"' >/etc/kepler/kepler.toml
systemctl reload kepler
holds "wrong settings are refused" eventually has '^kepler_config_last_reload_successful 0'
holds "... and it goes on" is active
systemctl restart kepler
failed_by_settings() { [[ $(systemctl show -p ExecMainStatus --value kepler) == 2 ]] && is failed; }
holds "a start with wrong settings fails, and is not tried again" eventually failed_by_settings
: >/etc/kepler/kepler.toml

systemctl reset-failed kepler
holds "it starts again" systemctl start kepler
kill -9 "$(main_pid)"
restarted() { is active && curl -sf localhost:28282/readyz; }
sleep 1
holds "it comes back after a crash" eventually restarted
holds "an upgrade restarts it" dpkg -i /root/kepler.deb
holds "... and it is ready" eventually restarted

holds "it is removed" dpkg -r kepler
holds "... and stopped" not is active
holds "... and its settings stay" test -f /etc/kepler/kepler.toml
holds "it is purged" dpkg -P kepler
left() { find /etc/kepler /var/lib/kepler /var/lib/private/kepler /usr/bin/kepler /usr/share/man/man1/kepler* /usr/share/*/completions/kepler /usr/share/fish/vendor_completions.d/kepler.fish /etc/systemd/system/*/kepler.service 2>/dev/null; }
holds "... and nothing of it is left" test -z "$(left)"
