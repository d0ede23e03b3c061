# SPDX-License-Identifier: Apache-2.0
# Two sockets under intel_rapl_common, whose registers rapl_sim simulates; then a power meter of the firmware.
set_to() { echo "$2" >$sim/"$1"; }

modprobe intel_rapl_common
# The counter of a package turns over after 600 J, of 2^14 counts each: before that it is seen for the first time, and 9 s of
# 20 W and 9 s of 50 W later it must be over.
modprobe rapl_sim idle_mw=20000 cpu_mw=0 dram_mw=3000 psys_mw=10000 start_raw=$((4294967296 - 600 * 16384))
section zones grep . $zones/*/name $zones/*/max_energy_range_uj
log_rapl &
logger=$!

# What an emulator lacks is passed over with a reason, and the next in line is taken.
modprobe msr
section rapl-events modprobe rapl
check passed-over <<TOML
[sources]
cpu = ["rapl-perf", "msr", "hwmon", "rapl"]
dram = ["rapl-perf", "msr", "hwmon", "rapl"]
platform = ["acpi", "ipmi", "battery", "rapl"]
gpu = ["nvml", "intel", "amd"]
[exporter]
listen = ["127.0.0.1:28282"]
TOML

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

# Milliwatts of the meter of the firmware, which lie in CMOS bytes 0x70 to 0x73: index to port 0x70, byte to port 0x71.
acpi_level() {
    local at level=$1
    for at in 160 161 162 163; do
        printf "\\$at\\$(printf %03o $((level & 255)))" | dd of=/dev/port bs=1 seek=112 2>/dev/null
        level=$((level >> 8))
    done
}
shows() { until_true 60 has "kepler_node_platform_watts{.*source=\"acpi\"} $1"; }

modprobe acpi_power_meter
acpi_level 123456
start acpi <<TOML
tick = "1s"
[sources]
cpu = []
dram = []
platform = ["acpi"]
gpu = []
[exporter]
listen = ["127.0.0.1:28282"]
TOML
shows '123[.]'
sample acpi-1
sleep 9
sample acpi-2
acpi_level 200000
shows '200'
sample acpi-3
sleep 9
sample acpi-4
# What firmware says while it has no sample.
acpi_level $((0xffffffff))
until_true 30 has 'kepler_source_up{source="acpi",component="platform"} 0'
sleep 2
sample acpi-unknown
acpi_level 150000
shows '150'
sample acpi-5
sleep 9
sample acpi-6
stop acpi
