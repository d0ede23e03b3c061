# SPDX-License-Identifier: Apache-2.0
# Two controllers under the kernel's ipmi_si: bmc.py, which has DCMI and says what the lines with @bmc tell it to, and QEMU's
# own, which has none.
modprobe ipmi_si
modprobe ipmi_devintf
until_true 10 test -e /dev/ipmi1
section controllers grep . /sys/class/ipmi/ipmi*/device/type
# Which of them is which depends on the order in which the firmware's tables name them.
number() { sed 's|.*/ipmi\([0-9]*\)/.*|\1|' <<LIST
$(grep -l "$1" /sys/class/ipmi/ipmi*/device/type)
LIST
}
ours=$(number kcs)
truth controller number "$ours"
bmc() { echo "@bmc $1"; }
shows() { until_true 60 has "kepler_node_platform_watts{.*source=\"ipmi\"} $1"; }

check no-dcmi <<TOML
[sources]
cpu = []
dram = []
platform = ["ipmi"]
gpu = []
[sources.ipmi]
device = "/dev/ipmi$(number bt)"
[exporter]
listen = ["127.0.0.1:28282"]
TOML

start ipmi <<TOML
tick = "1s"
[sources]
cpu = []
dram = []
platform = ["ipmi"]
gpu = []
[sources.ipmi]
device = "/dev/ipmi$ours"
interval = "1s"
[exporter]
listen = ["127.0.0.1:28282"]
TOML
shows 344
sample ipmi-1
sleep 9
sample ipmi-2
bmc 512
shows 512
sample ipmi-3
sleep 9
sample ipmi-4
bmc silent
until_true 60 has 'kepler_source_up{source="ipmi",component="platform"} 0'
sample ipmi-silent
bmc inactive
until_true 60 has 'kepler_source_errors_total{source="ipmi",reason="gone"}'
sample ipmi-inactive
bmc 300
shows 300
sample ipmi-5
sleep 9
sample ipmi-6
stop ipmi
