// SPDX-License-Identifier: Apache-2.0
//! What every key of the configuration means, in the order of docs/configuration.md. `takes` and `refuses` are values, written as a
//! variable is, that try what `allowed` says.
//!
//! A new key needs a line here; `UPDATE_GOLDEN=1 cargo nextest run -p actors` then writes the page.

/// A key.
pub(crate) struct Key {
    pub(crate) key: &'static str,
    pub(crate) allowed: &'static str,
    pub(crate) takes: &'static [&'static str],
    pub(crate) refuses: &'static [&'static str],
    pub(crate) means: &'static str,
}

/// Keys that belong together.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) words: &'static str,
    pub(crate) keys: &'static [Key],
}

const fn key(
    key: &'static str,
    allowed: &'static str,
    takes: &'static [&'static str],
    refuses: &'static [&'static str],
    means: &'static str,
) -> Key {
    Key {
        key,
        allowed,
        takes,
        refuses,
        means,
    }
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// Variables without our prefix: name, the key that each sets where nothing else does, and a value.
pub(crate) const OTHER_VARIABLES: &[(&str, &str, &str)] = &[
    ("STATE_DIRECTORY", "state.dir", "/var/lib/other"),
    ("NODE_NAME", "kubernetes.node_name", "node-1"),
    ("NODE_IP", "kubernetes.kubelet.address", "192.0.2.1"),
    ("KUBERNETES_SERVICE_HOST", "kubernetes.service_host", "192.0.2.1"),
    ("KUBERNETES_SERVICE_PORT", "kubernetes.service_port", "6443"),
];

const BMC: (&str, &str) = ("sources.redfish.url", "https://bmc.example");
const USER: (&str, &str) = ("sources.redfish.username", "kepler");
const PASSWORD: (&str, &str) = ("sources.redfish.password", "x");

/// What has to be set beside a key for it to mean something.
pub(crate) const COMPANIONS: &[(&str, &[(&str, &str)])] = &[
    ("sources.redfish.username", &[BMC, PASSWORD]),
    ("sources.redfish.password", &[BMC, USER]),
    ("sources.redfish.password_file", &[BMC, USER]),
    ("sources.redfish.auth", &[BMC, USER, PASSWORD]),
    (
        "exporter.push.remote_write.request.username",
        &[
            (
                "exporter.push.remote_write.url",
                "https://prometheus.example/api/v1/write",
            ),
            ("exporter.push.remote_write.request.password_file", "/x"),
        ],
    ),
    (
        "exporter.push.remote_write.request.password_file",
        &[
            (
                "exporter.push.remote_write.url",
                "https://prometheus.example/api/v1/write",
            ),
            ("exporter.push.remote_write.request.username", "kepler"),
        ],
    ),
    (
        "exporter.push.remote_write.request.cert_file",
        &[
            (
                "exporter.push.remote_write.url",
                "https://prometheus.example/api/v1/write",
            ),
            ("exporter.push.remote_write.request.key_file", "/x"),
        ],
    ),
    (
        "exporter.push.remote_write.request.key_file",
        &[
            (
                "exporter.push.remote_write.url",
                "https://prometheus.example/api/v1/write",
            ),
            ("exporter.push.remote_write.request.cert_file", "/x"),
        ],
    ),
    (
        "exporter.push.otlp.request.username",
        &[
            (
                "exporter.push.otlp.url",
                "https://collector.example:4318/v1/metrics",
            ),
            ("exporter.push.otlp.request.password_file", "/x"),
        ],
    ),
    (
        "exporter.push.otlp.request.password_file",
        &[
            (
                "exporter.push.otlp.url",
                "https://collector.example:4318/v1/metrics",
            ),
            ("exporter.push.otlp.request.username", "kepler"),
        ],
    ),
    (
        "exporter.push.otlp.request.cert_file",
        &[
            (
                "exporter.push.otlp.url",
                "https://collector.example:4318/v1/metrics",
            ),
            ("exporter.push.otlp.request.key_file", "/x"),
        ],
    ),
    (
        "exporter.push.otlp.request.key_file",
        &[
            (
                "exporter.push.otlp.url",
                "https://collector.example:4318/v1/metrics",
            ),
            ("exporter.push.otlp.request.cert_file", "/x"),
        ],
    ),
];

pub(crate) const HEAD: &str = "\
<!-- SPDX-License-Identifier: Apache-2.0 -->
# Every setting

Written by `UPDATE_GOLDEN=1 cargo nextest run -p actors`, with the meanings in `actors/tests/configuration/keys.rs`; a test holds it to the code. Keys, defaults and variables are those of the configuration's types, and a test tries on them what is said to be allowed.

- **Where**: a TOML or YAML file (`--config FILE`, or the first of `/etc/kepler/kepler.toml`, `.yaml`, `.yml`), then environment variables, then flags; the later
  is stronger. Every key goes in each way: `tick = \"5s\"` in the file, `KEPLER_TICK=5s`, `--set tick=5s`.
- **In the file** a key `exporter.processes.max` is `max` in the section `[exporter.processes]`. **As a variable** sections are joined by two underscores, and a
  list is one text with commas: `KEPLER_SOURCES__CPU=rapl,estimator`.
- **Durations** are texts with units: `500ms`, `10s`, `1h30m`. An empty text is none.
- **Mistakes** are refused before anything starts, all at once, each with its place, what was found, what is allowed and the nearest known key. `kepler config check
  FILE` says so without starting anything; `kepler config show` prints what is in force and where each value comes from. Secrets are shown by neither.
- Without a file everything has its default: a daemon without any configuration is right for most machines.
";

#[rustfmt::skip] // A table is read by its columns.
pub(crate) const SECTIONS: &[Section] = &[
    Section { title: "The daemon", words: "Keys at the top, `[state]`, `[security]` and `[log]`.", keys: &[
        key("tick", "100ms to 60s", &["100ms", "60s"], &["99ms", "61s", "1"], "length of a window: how often everything is read and a snapshot is published"),
        key("state.dir", "a path; empty: nothing is kept", &["/x", ""], &["x"], "folder for what is learned and kept over a restart: [idle floors](idle-floor.md). It is made where it is missing"),
        key("state.machine", "a text", &["rack-7-slot-3", ""], &[], "a name that no other machine has, where firmware tells no number of its own (`kepler check` says so)"),
        key("security.hardening", "`auto`, `off`, `required`", &["auto", "off", "required"], &["on"], "what the daemon [gives up by itself](hardening.md); `required` refuses to start where a part of it cannot be had"),
        key("security.min_export_interval", "0s (off) to 60s", &["0s", "60s", "500ms"], &["61s", "-1s", "10"], "how far apart snapshots are that anybody is shown: pages, JSON, events, what is pushed, and guests. The tick goes on inside; [why](security.md#the-side-channel-of-energy)"),
        key("log.level", "`error`, `warn`, `info`, `debug`, `trace`", &["error", "warn", "info", "debug", "trace"], &["loud"], "least severe level that is written"),
        key("log.format", "`text`, `json`", &["text", "json"], &["xml"], "lines for people, or one object a line"),
    ] },
    Section { title: "Probes", words: "`[probes]`: who ran. What a machine can count says `kepler check`.", keys: &[
        key("probes.cpu_time", "`auto`, `switch`, `scheduler`, `proc`", &["auto", "switch", "scheduler", "proc"], &["ebpf"], "who accounts CPU time. `switch` and `scheduler` are eBPF, and an error where that cannot be loaded; `proc` is `/proc` and cgroups; `auto` takes the cheapest that gives what the machine can count"),
        key("probes.hw_counters", "`auto`, `on`, `off`", &["auto", "on", "off"], &["yes"], "cycles, instructions and cache misses. `on` makes `auto` above take the accountant that has them"),
        key("probes.softirq", "`auto`, `on`, `off`", &["auto", "on", "off"], &["yes"], "time in softirqs, which is then the kernel's and not of whom they interrupted"),
        key("probes.page_cache", "`auto`, `on`, `off`", &["auto", "on", "off"], &["yes"], "pages found in the page cache; costs a hook on a function that every cached read calls"),
    ] },
    Section { title: "Which meters", words: "`[sources]`: names of [sources](../power-sources/README.md), best first; the first that works is used, of `gpu` all that work. A source is forced by naming it alone and switched off by leaving it out.", keys: &[
        key("sources.cpu", "a list of sources", &["rapl,estimator", "", "rapl-perf", "msr", "hwmon", "replay"], &["rappl"], "for package, core and uncore"),
        key("sources.dram", "a list of sources", &["rapl", ""], &["rappl"], "for memory"),
        key("sources.platform", "a list of sources", &["redfish,acpi,ipmi", "battery", ""], &["rappl"], "for the whole machine"),
        key("sources.gpu", "a list of sources", &["nvml,intel,amd", "hwmon", ""], &["rappl"], "for accelerators"),
    ] },
    Section { title: "RAPL, from powercap", words: "`[sources.rapl]`: [what it reads](../power-sources/README.md#rapl).", keys: &[
        key("sources.rapl.root", "a path", &["/sys/class/powercap", "/run/kepler-host"], &[""], "folder with `intel-rapl:0` and its likes"),
        key("sources.rapl.max_watts.package", "0 to 100000 W", &["0", "100000"], &["100001", "-1"], "highest plausible power of a zone, by which a wrap of its counter is told from a reset; 0: as the machine says"),
        key("sources.rapl.max_watts.core", "0 to 100000 W", &["0", "100000"], &["100001"], "the same of cores"),
        key("sources.rapl.max_watts.uncore", "0 to 100000 W", &["0", "100000"], &["100001"], "the same of what is beside the cores"),
        key("sources.rapl.max_watts.dram", "0 to 100000 W", &["0", "100000"], &["100001"], "the same of memory"),
        key("sources.rapl.max_watts.platform", "0 to 100000 W", &["0", "100000"], &["100001"], "the same of a platform (psys) zone"),
    ] },
    Section { title: "RAPL, from perf events", words: "`[sources.rapl-perf]`: [what it reads](../power-sources/README.md#rapl-through-perf-events). Opt-in.", keys: &[
        key("sources.rapl-perf.root", "a path", &["/sys/bus/event_source/devices/power"], &[""], "folder of the PMU"),
        key("sources.rapl-perf.cpuinfo", "a path", &["/proc/cpuinfo"], &[""], "where vendor, family and model of the CPUs stand"),
        key("sources.rapl-perf.cpus", "a path", &["/sys/devices/system/cpu"], &[""], "folder with `online` and `cpu0/topology`"),
        key("sources.rapl-perf.max_watts.package", "0 to 100000 W", &["0", "100000"], &["100001"], "highest plausible power of a zone; 0: the default of RAPL"),
        key("sources.rapl-perf.max_watts.core", "0 to 100000 W", &["0", "100000"], &["100001"], "the same of cores"),
        key("sources.rapl-perf.max_watts.uncore", "0 to 100000 W", &["0", "100000"], &["100001"], "the same of what is beside the cores"),
        key("sources.rapl-perf.max_watts.dram", "0 to 100000 W", &["0", "100000"], &["100001"], "the same of memory"),
        key("sources.rapl-perf.max_watts.platform", "0 to 100000 W", &["0", "100000"], &["100001"], "the same of a platform (psys) zone"),
    ] },
    Section { title: "RAPL, from registers", words: "`[sources.msr]`: [what it reads](../power-sources/README.md#rapl-from-registers). Opt-in.", keys: &[
        key("sources.msr.root", "a path", &["/dev/cpu"], &[""], "folder with `0/msr` and its likes"),
        key("sources.msr.cpuinfo", "a path", &["/proc/cpuinfo"], &[""], "where vendor, family and model of the CPUs stand"),
        key("sources.msr.cpus", "a path", &["/sys/devices/system/cpu"], &[""], "folder with `online` and `cpu0/topology`"),
        key("sources.msr.max_watts.package", "0 to 100000 W", &["0", "100000"], &["100001"], "highest plausible power of a zone; 0: the default of RAPL"),
        key("sources.msr.max_watts.core", "0 to 100000 W", &["0", "100000"], &["100001"], "the same of cores"),
        key("sources.msr.max_watts.uncore", "0 to 100000 W", &["0", "100000"], &["100001"], "the same of what is beside the cores"),
        key("sources.msr.max_watts.dram", "0 to 100000 W", &["0", "100000"], &["100001"], "the same of memory"),
        key("sources.msr.max_watts.platform", "0 to 100000 W", &["0", "100000"], &["100001"], "the same of a platform (psys) zone"),
    ] },
    Section { title: "hwmon", words: "`[sources.hwmon]`: [what it reads, and rules by example](../power-sources/README.md#hwmon).", keys: &[
        key("sources.hwmon.root", "a path", &["/sys/class/hwmon"], &[""], "folder with `hwmon0` and its likes"),
        key("sources.hwmon.rules", "a list of rules", &["[{ chip = \"ina226\", label = \"VDD_CPU*\", component = \"package\", place = \"socket0\" }]", "[]"], &["[{ chip = \"x\" }]", "[{ chip = \"x\", component = \"disk\" }]"], "what channels are, beside what is built in; the first that matches decides"),
        key("sources.hwmon.max_watts.package", "1 to 100000 W", &["1", "100000"], &["0", "100001"], "most of one channel that is believed"),
        key("sources.hwmon.max_watts.core", "1 to 100000 W", &["1", "100000"], &["0", "100001"], "the same of cores"),
        key("sources.hwmon.max_watts.uncore", "1 to 100000 W", &["1", "100000"], &["0", "100001"], "the same of what is beside the cores"),
        key("sources.hwmon.max_watts.dram", "1 to 100000 W", &["1", "100000"], &["0", "100001"], "the same of memory"),
        key("sources.hwmon.max_watts.gpu", "1 to 100000 W", &["1", "100000"], &["0", "100001"], "the same of a GPU"),
        key("sources.hwmon.max_watts.platform", "1 to 100000 W", &["1", "100000"], &["0", "100001"], "the same of the machine, or a module of it"),
    ] },
    Section { title: "Redfish", words: "`[sources.redfish]`: [what it reads, and what its errors mean](../power-sources/README.md#redfish). Not asked before it has an address.", keys: &[
        key("sources.redfish.url", "`https://`, a host and, if it is not 443, a port; empty: no BMC", &["https://bmc.example", "https://192.0.2.9:8443", ""], &["http://bmc.example", "bmc.example", "https://user:x@bmc.example"], "the BMC"),
        key("sources.redfish.username", "a text", &["kepler"], &["a:b"], "account; the right to log in and read is enough"),
        key("sources.redfish.password", "a text", &["x"], &[], "its password, if it is not in a file; never shown"),
        key("sources.redfish.password_file", "a path", &["/etc/kepler/bmc"], &[], "file whose first line is the password; read again at each login"),
        key("sources.redfish.auth", "`basic`, `session`", &["basic", "session"], &["token"], "name and password with each request, or a session that is deleted at the end"),
        key("sources.redfish.ca_file", "a path", &["/etc/kepler/bmc.pem", ""], &[], "certificates (PEM) of which one must have signed the BMC's, instead of the system's"),
        key("sources.redfish.fingerprint", "a SHA-256: 64 hexadecimal digits, colons or not", &["0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"], &["0123"], "that certificate and no other, whatever its name and dates"),
        key("sources.redfish.insecure", "`true`, `false`", &["true", "false"], &["maybe"], "accepts every certificate, and plain HTTP: whoever can reach the network between can read the password"),
        key("sources.redfish.interval", "1s to 5m", &["1s", "5m"], &["999ms", "301s"], "time from one reading to the next"),
        key("sources.redfish.timeout", "100ms to 60s", &["100ms", "60s"], &["99ms", "61s"], "longest wait for one answer"),
        key("sources.redfish.chassis", "a list of ids; empty: all that are this machine", &["1U", "1U,2U", ""], &[], "chassis to use"),
        key("sources.redfish.reading", "`auto`, `energy`, `power`", &["auto", "energy", "power"], &["watts"], "an energy counter that is fine enough, else power; a counter only; power only"),
        key("sources.redfish.max_watts", "1 to 1000000 W", &["1", "1000000"], &["0", "1000001"], "highest plausible power of one chassis"),
    ] },
    Section { title: "ACPI power meter", words: "`[sources.acpi]`: [what it reads](../power-sources/README.md#acpi-power-meter).", keys: &[
        key("sources.acpi.root", "a path", &["/sys/class/hwmon"], &[""], "folder with `hwmon0` and its likes"),
        key("sources.acpi.meters", "a list of patterns with `*`", &["ACPI000D:00", "*", ""], &[], "which meters are counted, by device, model number or OEM text; empty: the only one about the whole machine"),
        key("sources.acpi.max_watts", "1 to 100000 W", &["1", "100000"], &["0", "100001"], "most of one meter that is believed"),
        key("sources.acpi.read_every", "0s to 2m", &["0s", "2m"], &["121s"], "time between two readings; 0s: the meter's own averaging interval"),
    ] },
    Section { title: "IPMI", words: "`[sources.ipmi]`: [what it reads](../power-sources/README.md#ipmi).", keys: &[
        key("sources.ipmi.device", "a path", &["/dev/ipmi0"], &[""], "device of the kernel's driver `ipmi_devintf`"),
        key("sources.ipmi.interval", "1s to 5m", &["1s", "5m"], &["999ms", "301s"], "wait between two readings"),
        key("sources.ipmi.max_watts", "1 to 65534 W", &["1", "65534"], &["0", "65535"], "highest plausible power of the machine"),
    ] },
    Section { title: "Battery", words: "`[sources.battery]`, while nothing else feeds the machine. Opt-in.", keys: &[
        key("sources.battery.root", "a path", &["/sys/class/power_supply"], &[""], "folder with `BAT0` and its likes"),
        key("sources.battery.max_watts", "1 to 100000 W", &["1", "100000"], &["0", "100001"], "most of one battery that is believed"),
    ] },
    Section { title: "NVIDIA GPUs", words: "`[sources.nvml]`: [what it reads](../power-sources/README.md), [beside a real one](gpu.md).", keys: &[
        key("sources.nvml.library", "a path; empty: `libnvidia-ml.so.1` where it usually is", &["/usr/lib/libnvidia-ml.so.1", ""], &[], "NVIDIA's management library"),
        key("sources.nvml.root", "a path", &["/proc/driver/nvidia/gpus"], &[], "the driver's folder with one entry for each GPU, by which new ones are noticed"),
        key("sources.nvml.interval", "100ms to 1m", &["100ms", "1m"], &["99ms", "61s"], "shortest time between two readings; one costs some ms of CPU time a GPU in the driver"),
        key("sources.nvml.max_watts", "0 to 100000 W", &["0", "100000"], &["100001"], "highest plausible power of a GPU; 0: by its board's limit"),
    ] },
    Section { title: "Intel GPUs", words: "`[sources.intel]`: i915 and xe.", keys: &[
        key("sources.intel.root", "a path", &["/sys/class/drm"], &[""], "folder with `card0` and its likes"),
        key("sources.intel.proc", "a path", &["/proc"], &[""], "where processes are, by their pids on the host"),
        key("sources.intel.scan", "1s to 5m", &["1s", "5m"], &["999ms", "301s"], "how often a process is looked at that was there all the time"),
        key("sources.intel.max_watts", "1 to 100000 W", &["1", "100000"], &["0", "100001"], "highest plausible power of a card"),
    ] },
    Section { title: "AMD GPUs", words: "`[sources.amd]`: amdgpu.", keys: &[
        key("sources.amd.root", "a path", &["/sys/class/drm"], &[""], "folder with `card0` and its likes"),
        key("sources.amd.proc", "a path", &["/proc"], &[""], "where processes are, by their pids on the host"),
        key("sources.amd.scan", "1s to 5m", &["1s", "5m"], &["999ms", "301s"], "how often a process is looked at that was there all the time"),
        key("sources.amd.max_watts", "1 to 100000 W", &["1", "100000"], &["0", "100001"], "highest plausible power of a card"),
        key("sources.amd.apu", "`ignore`, `count`", &["ignore", "count"], &["cpu"], "GPUs that share a chip with the CPU: left out, because RAPL's package has the same energy, or counted as GPUs"),
    ] },
    Section { title: "A recording as a meter", words: "`[sources.replay]`: [recordings](recording.md).", keys: &[
        key("sources.replay.file", "a path; empty: none", &["/tmp/node.keplrec", ""], &[], "what `kepler record` wrote"),
        key("sources.replay.loop", "`true`, `false`", &["true", "false"], &["maybe"], "begins again at its end; else its zones go down"),
        key("sources.replay.speed", "0.01 to 100", &["0.01", "100"], &["0", "101"], "recorded seconds in a second"),
    ] },
    Section { title: "The estimator", words: "`[estimator.machine]` and `[estimator.models]`: [where there is no meter](estimator.md). In a guest `machine` describes the host, elsewhere this machine, over what it says of itself; 0 and empty: not said.", keys: &[
        key("estimator.machine.vendor", "a text, such as `intel` or `amd`", &["intel", "amd", ""], &[], "vendor of the CPU"),
        key("estimator.machine.cpu", "a text", &["AMD EPYC 7763", ""], &[], "its name"),
        key("estimator.machine.year", "a year, or 0", &["2021", "0"], &["21"], "when this hardware was sold"),
        key("estimator.machine.chips", "a whole number, or 0", &["2", "0"], &["-1", "1.5"], "sockets"),
        key("estimator.machine.cores", "a whole number, or 0", &["128", "0"], &["-1", "1.5"], "cores of all sockets"),
        key("estimator.machine.threads", "a whole number, or 0", &["256", "0"], &["-1", "1.5"], "hardware threads of all sockets; a guest pays its vCPUs of these"),
        key("estimator.machine.base_mhz", "MHz, or 0", &["2450", "0"], &["-1"], "nominal clock"),
        key("estimator.machine.tdp_watts_per_chip", "W, or 0", &["280", "0"], &["-1"], "thermal design power of one socket"),
        key("estimator.machine.memory_gib", "GiB, or 0", &["512", "0"], &["-1"], "memory"),
        key("estimator.models.package", "a path; empty: the built-in model", &["/etc/kepler/package.json", ""], &[], "[model file](model-files.md) for packages"),
        key("estimator.models.dram", "a path; empty: the built-in model", &["/etc/kepler/dram.json", ""], &[], "the same for memory"),
        key("estimator.models.platform", "a path; empty: the built-in model", &["/etc/kepler/platform.json", ""], &[], "the same for the whole machine"),
    ] },
    Section { title: "Who pays", words: "`[attribution]`, `[attribution.smt]` and `[attribution.idle]`: [how attribution works](attribution.md).", keys: &[
        key("attribution.features", "`counters`, `cpu-time`", &["counters", "cpu-time"], &["cycles"], "dynamic energy by what is right for each component where the machine counts it, or by CPU time alone, for comparison"),
        key("attribution.weights", "`plain`, `learned`", &["plain", "learned"], &["fixed"], "one counter for each component, or several, weighed as this node's own meters say, wherever that is better"),
        key("attribution.other", "`energy`, `cpu-time`, `node`", &["energy", "cpu-time", "node"], &["nobody"], "who pays what the platform uses beside package, memory and GPUs: by their energy, by CPU time, or the node"),
        key("attribution.smt.weight", "0.5 to 1.0, or `learned`", &["0.5", "1.0", "learned"], &["0.49", "1.01", "half"], "what time beside a busy sibling costs of time alone on a core"),
        key("attribution.idle.floor", "`measured`, `busy-ratio`, `none`, or watts by component", &["measured", "busy-ratio", "none", "{ package = 20.0, dram = 3.0 }"], &["low", "{ cpu = 1.0 }"], "how idle power is [found](idle-floor.md)"),
        key("attribution.idle.share", "`reserved`, `equal`, `usage`, `node`", &["reserved", "equal", "usage", "node"], &["fair"], "who [pays](idle.md) idle energy"),
    ] },
    Section { title: "Names of containers", words: "`[workloads.runtimes]`", keys: &[
        key("workloads.runtimes.host", "a path", &["/", "/host"], &["host", ""], "where the host's root folder is, below which the runtimes' folders are looked for"),
    ] },
    Section { title: "The exporter", words: "`[exporter]`: [every metric](metrics.md), [the live page](page.md), [what keeps a large cluster affordable](scale.md).", keys: &[
        key("exporter.listen", "a list of addresses with ports, at least one, none twice", &["127.0.0.1:28282", "0.0.0.0:28282,[::1]:28282"], &["28282", "localhost:28282", "", "127.0.0.1:1,127.0.0.1:1"], "where HTTP is served"),
        key("exporter.socket_mode", "three octal digits", &["0660", "600"], &["66", "0880"], "permissions of a socket file among `exporter.listen` (`unix:/run/kepler/kepler.sock`)"),
        key("exporter.web_config", "a path; empty: none", &["/etc/kepler/web.yml", ""], &[], "a `web.config.file` of Prometheus: [TLS, certificates of clients, passwords](security.md)"),
        key("exporter.bearer_token_file", "a path; empty: none", &["/etc/kepler/tokens", ""], &[], "file of bearer tokens, one a line, of which one has to be shown"),
        key("exporter.open_probes", "`true`, `false`", &["true", "false"], &["maybe"], "whether `/livez` and `/readyz` answer everybody"),
        key("exporter.reload", "`true`, `false`", &["true", "false"], &["maybe"], "whether `POST /-/reload` [reloads the configuration](reload.md); SIGHUP always does"),
        key("exporter.schemas", "a list out of `kepler`, `kepler-0.11`", &["kepler", "kepler-0.11", "kepler,kepler-0.11"], &["", "kepler-0.9"], "names of metrics; both stand side by side ([moving](migration.md))"),
        key("exporter.levels", "a list out of `node`, `container`, `pod`, `vm`, `unit`, `process`", &["node,pod", ""], &["host"], "levels that have metrics; the JSON snapshot always has all"),
        key("exporter.processes.max", "0 to 100000", &["0", "100000"], &["-1", "100001"], "processes with series of their own; all others are summed in `pid=\"other\"`"),
        key("exporter.ended.keep", "0s to 24h", &["0s", "24h"], &["25h", "3"], "how long a workload that ended stays visible with its final total"),
        key("exporter.drop.container", "a list out of `container_id`, `container_name`, `pod_name`, `container_namespace`", &["container_id", ""], &["pid"], "labels that are left out; what then has the same labels is one series with its sum"),
        key("exporter.drop.pod", "a list out of `pod_id`, `pod_name`, `pod_namespace`", &["pod_id", ""], &["pid"], "the same of pods"),
        key("exporter.drop.vm", "a list out of `vm_id`, `vm_name`, `hypervisor`", &["vm_id", ""], &["pid"], "the same of virtual machines"),
        key("exporter.drop.unit", "a list out of `unit`, `slice`", &["slice", ""], &["pid"], "the same of systemd units"),
        key("exporter.drop.process", "a list out of `pid`, `command`, `container_id`, `vm_id`", &["pid", ""], &["unit"], "the same of processes"),
        key("exporter.pod_labels", "a list of at most 32 names of labels", &["app.kubernetes.io/name,team", ""], &["a b"], "labels of pods that are labels of their series and their containers': `label_app_kubernetes_io_name`"),
        key("exporter.namespaces.allow", "a list of namespaces; empty: all", &["shop,web", ""], &["Shop"], "only these have rows of their own; all others are summed in `_other`"),
        key("exporter.namespaces.deny", "a list of namespaces", &["kube-system", ""], &["Shop"], "these have none, also where `allow` has them"),
        key("exporter.created", "`true`, `false`", &["true", "false"], &["maybe"], "whether OpenMetrics says since when each counter counts (`_created`), a second series for each"),
        key("exporter.page.price_per_kwh", "0 to 1000000 with at most 6 decimals; empty: none", &["0.31", ""], &["-1", "0.1234567"], "price of a kWh, for the [live page](page.md)"),
        key("exporter.page.currency", "a text", &["EUR", ""], &[], "currency of that price, as it is to be written"),
        key("exporter.page.grams_co2e_per_kwh", "0 to 1000000 with at most 6 decimals; empty: none", &["380", ""], &["-1"], "carbon-dioxide equivalent of a kWh in grams"),
    ] },
    Section { title: "Pushing by remote write", words: "`[exporter.push.remote_write]`, for sites that do not scrape: [pushing](push.md).", keys: &[
        key("exporter.push.remote_write.url", "`http://` or `https://` with a host and a path; empty: nobody", &["https://prometheus.example/api/v1/write", ""], &["ftp://x/"], "where to"),
        key("exporter.push.remote_write.version", "`1.0`, `2.0`", &["1.0", "2.0"], &["3.0"], "version of the protocol"),
        key("exporter.push.remote_write.labels", "at most 32 names with their values", &["{ cluster = \"x\" }"], &[], "labels of every series; `job` and `instance` are added where they are missing"),
        key("exporter.push.remote_write.interval", "1s to 5m", &["1s", "5m"], &["999ms", "301s"], "time from one push to the next"),
        key("exporter.push.remote_write.schemas", "a list out of `kepler`, `kepler-0.11`; empty: all of `exporter.schemas`", &["kepler", ""], &["kepler-0.9"], "names of metrics that are pushed"),
        key("exporter.push.remote_write.request.timeout", "100ms to 2m", &["100ms", "2m"], &["99ms", "121s"], "longest time for one request with its answer"),
        key("exporter.push.remote_write.request.headers", "at most 32 names with their values", &["{ X-Scope-OrgID = \"team\" }"], &[], "further headers; secrets belong into files"),
        key("exporter.push.remote_write.request.username", "a text", &["kepler"], &[], "name for basic authentication"),
        key("exporter.push.remote_write.request.password_file", "a path", &["/etc/kepler/push"], &[], "file whose first line is the password; read at each request"),
        key("exporter.push.remote_write.request.token_file", "a path", &["/etc/kepler/token"], &[], "file whose first line is a bearer token; read at each request"),
        key("exporter.push.remote_write.request.ca_file", "a path; empty: those that the system trusts", &["/etc/kepler/ca.pem", ""], &[], "certificates (PEM) of which one must have signed the receiver's"),
        key("exporter.push.remote_write.request.cert_file", "a path; empty: none", &["/etc/kepler/push.pem"], &[], "our own certificate (PEM)"),
        key("exporter.push.remote_write.request.key_file", "a path; empty: none", &["/etc/kepler/push.key"], &[], "its key (PEM)"),
        key("exporter.push.remote_write.request.plain_secrets", "`true`, `false`", &["true", "false"], &["maybe"], "whether a password or a token may go over plain HTTP"),
        key("exporter.push.remote_write.queue.mib", "1 to 1024", &["1", "1024"], &["0", "1025"], "most MiB that wait while the receiver does not take them"),
        key("exporter.push.remote_write.queue.age", "10s to 24h", &["10s", "24h"], &["9s", "25h"], "longest wait; what is older is dropped, which costs resolution and no energy"),
    ] },
    Section { title: "Pushing by OTLP", words: "`[exporter.push.otlp]`, over HTTP: [pushing](push.md).", keys: &[
        key("exporter.push.otlp.url", "`http://` or `https://` with a host and a path; empty: nobody", &["https://collector.example:4318/v1/metrics", ""], &["ftp://x/"], "where to"),
        key("exporter.push.otlp.attributes", "at most 32 names with their values", &["{ cluster = \"x\" }"], &[], "attributes of the resource; `service.name` and its likes are added where they are missing"),
        key("exporter.push.otlp.interval", "1s to 5m", &["1s", "5m"], &["999ms", "301s"], "time from one push to the next"),
        key("exporter.push.otlp.schemas", "a list out of `kepler`, `kepler-0.11`; empty: all of `exporter.schemas`", &["kepler", ""], &["kepler-0.9"], "names of metrics that are pushed"),
        key("exporter.push.otlp.request.timeout", "100ms to 2m", &["100ms", "2m"], &["99ms", "121s"], "longest time for one request with its answer"),
        key("exporter.push.otlp.request.headers", "at most 32 names with their values", &["{ X-Scope-OrgID = \"team\" }"], &[], "further headers; secrets belong into files"),
        key("exporter.push.otlp.request.username", "a text", &["kepler"], &[], "name for basic authentication"),
        key("exporter.push.otlp.request.password_file", "a path", &["/etc/kepler/push"], &[], "file whose first line is the password; read at each request"),
        key("exporter.push.otlp.request.token_file", "a path", &["/etc/kepler/token"], &[], "file whose first line is a bearer token; read at each request"),
        key("exporter.push.otlp.request.ca_file", "a path; empty: those that the system trusts", &["/etc/kepler/ca.pem", ""], &[], "certificates (PEM) of which one must have signed the receiver's"),
        key("exporter.push.otlp.request.cert_file", "a path; empty: none", &["/etc/kepler/push.pem"], &[], "our own certificate (PEM)"),
        key("exporter.push.otlp.request.key_file", "a path; empty: none", &["/etc/kepler/push.key"], &[], "its key (PEM)"),
        key("exporter.push.otlp.request.plain_secrets", "`true`, `false`", &["true", "false"], &["maybe"], "whether a password or a token may go over plain HTTP"),
        key("exporter.push.otlp.queue.mib", "1 to 1024", &["1", "1024"], &["0", "1025"], "most MiB that wait while the receiver does not take them"),
        key("exporter.push.otlp.queue.age", "10s to 24h", &["10s", "24h"], &["9s", "25h"], "longest wait; what is older is dropped, which costs resolution and no energy"),
    ] },
    Section { title: "Virtual machines that are fed", words: "`[vm_passthrough]`: [guests that read their share of this host's meters](vm-passthrough.md).", keys: &[
        key("vm_passthrough.dir", "a path; empty: nobody is fed", &["/run/kepler-vms", ""], &["vms"], "folder with one folder for each virtual machine"),
        key("vm_passthrough.estimates", "`true`, `false`", &["true", "false"], &["maybe"], "also with what is estimated here, as an estimate"),
    ] },
    Section { title: "Kubernetes", words: "`[kubernetes]` and `[kubernetes.kubelet]`: names of pods.", keys: &[
        key("kubernetes.mode", "`auto`, `api`, `kubelet`, `off`", &["auto", "api", "kubelet", "off"], &["on"], "who is asked. `auto`: the API server if this is a pod or a kubeconfig is named, else nobody"),
        key("kubernetes.node_name", "a text; empty: the host's name", &["node-1", ""], &[], "this node's name in the cluster"),
        key("kubernetes.kubeconfig", "a path; empty: the service account", &["/etc/kubernetes/kepler.conf", ""], &[], "file to reach the API server with; none is looked for"),
        key("kubernetes.service_account", "a path", &["/run/sa"], &[], "folder with `token` and `ca.crt`, which are read again when they change"),
        key("kubernetes.service_host", "a text", &["192.0.2.1", ""], &[], "the API server as seen from a pod"),
        key("kubernetes.service_port", "1 to 65535", &["1", "65535"], &["0", "65536"], "its port"),
        key("kubernetes.labels", "a list of at most 32 names of labels", &["app,team", ""], &[], "labels of pods to keep, in the JSON; those of `exporter.pod_labels` are kept anyway"),
        key("kubernetes.wait", "1s to 10m", &["1s", "10m"], &["999ms", "601s"], "how long a new container waits for its name before it is shown without one"),
        key("kubernetes.wait_away", "1s to 1day", &["1m", "1day"], &["2days"], "the same at most while the server is away"),
        key("kubernetes.kubelet.address", "a text; empty: the node's name", &["192.0.2.1", ""], &[], "the kubelet, for mode `kubelet`"),
        key("kubernetes.kubelet.port", "1 to 65535", &["10250"], &["0", "65536"], "its port"),
        key("kubernetes.kubelet.ca_file", "a path; empty: the service account's `ca.crt`", &["/var/lib/kubelet/pki/kubelet.crt", ""], &[], "certificates (PEM) of which one must have signed the kubelet's"),
        key("kubernetes.kubelet.interval", "1s to 10m", &["1s", "10m"], &["999ms", "601s"], "time from one question to the next"),
    ] },
];
