# SPDX-License-Identifier: Apache-2.0
# Two sockets under intel_rapl_common, whose registers rapl_sim simulates; then a power meter of the firmware.
sim=/sys/module/rapl_sim/parameters
zones=/sys/class/powercap

# Every fifth of a second: what was used so far, and how long the burner ran until the same moment.
log_rapl() {
    local line
    while :; do
        {
            while read -r line; do echo "rapl $line"; done <$sim/truth
            read -r line </tmp/burner && read -r line _ <"/proc/$line/schedstat" && echo "task $line"
        } 2>/dev/null >>/tmp/truth
        usleep 200000
    done
}
raw() { cat $zones/intel-rapl:0/energy_uj; }
set_to() { echo "$2" >$sim/"$1"; }

modprobe intel_rapl_common
# The counter of a package turns over after 600 J, of 2^14 counts each: before that it is seen for the first time, and 9 s of
# 20 W and 9 s of 50 W later it must be over.
modprobe rapl_sim idle_mw=20000 cpu_mw=0 dram_mw=3000 psys_mw=10000 start_raw=$((4294967296 - 600 * 16384))
section zones grep . $zones/*/name $zones/*/max_energy_range_uj
log_rapl &
logger=$!
start rapl <<TOML
tick = "1s"
[sources]
cpu = ["rapl"]
dram = ["rapl"]
platform = ["rapl"]
gpu = []
[attribution.idle]
floor = { package = 20.0 }
[exporter]
listen = ["127.0.0.1:28282"]
TOML
until_true 30 has 'kepler_node_package_watts{package="socket1"'

truth raw before $(raw)
sample steady-1
sleep 9
sample steady-2

set_to idle_mw 50000
sample change
sleep 9
sample change-2
truth raw after $(raw)

set_to fail_reads 1
until_true 10 has 'kepler_source_errors_total{source="rapl-sysfs",reason="io"}'
until_true 10 has 'kepler_source_up{source="rapl-sysfs",component="package"} 0'
sleep 2
sample failing
set_to fail_reads 0
until_true 60 has 'kepler_source_up{source="rapl-sysfs",component="package"} 1'
sample failed

rmmod rapl_sim
until_true 10 has 'kepler_source_up{source="rapl-sysfs",component="package"} 0'
sample gone
modprobe rapl_sim idle_mw=20000 cpu_mw=15000 start_raw=1
until_true 60 has 'kepler_source_up{source="rapl-sysfs",component="package"} 1'
sleep 2

taskset -c 1 sh -c 'while :; do :; done' &
echo $! >/tmp/burner
truth burner pid $!
sleep 2
sample burner-1
sleep 10
sample burner-2
kill $!
kill $logger
stop rapl
