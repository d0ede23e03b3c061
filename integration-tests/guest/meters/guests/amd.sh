# SPDX-License-Identifier: Apache-2.0
# One AMD socket under intel_rapl_common; a chip that calls itself amdgpu; a supply on a bus, under the kernel's pmbus driver.
log_rapl &
logger=$!
modprobe intel_rapl_common
# A count is 2^-16 J. The counters begin 800 J before their end.
begin_counting() { modprobe rapl_sim amd=1 esu=16 idle_mw=20000 cpu_mw=15000 start_raw=$((4294967296 - 800 * 65536)); }
begin_counting
section zones grep . $zones/*/name $zones/*/max_energy_range_uj

modprobe hwmon_sim name=amdgpu power_uw=35000000 label=PPT average=1 input=1
modprobe i2c_stub chip_addr=0x40
modprobe i2c_dev
bus=$(dirname "$(grep -l 'SMBus stub' /sys/bus/i2c/devices/i2c-*/name)")
# The supply's register CODE in the form linear11, whose exponent is 0 here.
supply() { i2cset -f -y "${bus##*i2c-}" 0x40 "$1" "$2" "$3" >/dev/null; }
# PMBus 1.2, output in 2^-9 V; 350 W in, 300 W out.
supply 0x98 0x22 b
supply 0x20 0x17 b
supply 0x97 350 w
supply 0x96 300 w
modprobe pmbus
echo pmbus 0x40 >"$bus/new_device"
supply_folder=$(dirname "$(grep -lx pmbus /sys/class/hwmon/hwmon*/name)")
section chips grep -H . /sys/class/hwmon/hwmon*/name "$supply_folder"/power[12]_label "$supply_folder"/power[12]_input

# Without rules, neither chip is anybody's.
check no-rules <<TOML
[sources]
cpu = ["hwmon"]
dram = ["hwmon"]
platform = ["hwmon"]
gpu = ["amd"]
[exporter]
listen = ["127.0.0.1:28282"]
TOML

# A chip with an energy counter: 12 W.
rmmod hwmon_sim
modprobe hwmon_sim name=board power_uw=12000000 label=memory energy=1
# What came before took as long as the machine below us pleased: the end must not have been passed before the daemon looks.
rmmod rapl_sim
begin_counting
start amd <<TOML
tick = "1s"
[sources]
cpu = ["rapl"]
dram = ["rapl", "hwmon"]
platform = ["hwmon"]
gpu = []
[[sources.hwmon.rules]]
chip = "board"
label = "memory"
component = "dram"
[[sources.hwmon.rules]]
chip = "pmbus"
label = "pin"
component = "platform"
place = "supply"
[exporter]
listen = ["127.0.0.1:28282"]
TOML
until_true 60 has 'kepler_node_package_watts{package="socket0"'
until_true 60 has 'kepler_node_platform_watts{.*source="hwmon"} 350'
raw_before=$(raw)
truth raw before $raw_before
turned_over() { [ "$(raw)" -lt "$raw_before" ]; }
sample amd-1
sleep 9
sample amd-2
supply 0x97 400 w
until_true 30 has 'kepler_node_platform_watts{.*source="hwmon"} 400'
sample amd-3
sleep 9
until_true 60 turned_over
sample amd-4
truth raw after $(raw)
kill $logger
stop amd
