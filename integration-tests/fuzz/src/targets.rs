// SPDX-License-Identifier: Apache-2.0
//! The list of targets.

use crate::daemon;
use power_sources::estimator::files::fuzz as models;
use power_sources::{fuzz as meters, ipmi, redfish};
use probe_workloads::{cgroup, machine, pods, procfs, reserved, runtimes, vms};

/// One parser, or several that read the same bytes.
pub struct Target {
    /// Its name, and the folder of its corpus.
    pub name: &'static str,
    /// Whose bytes they are.
    pub bytes: &'static str,
    /// Who may have chosen them, at worst.
    pub from: From,
    /// Panics where something does not hold.
    pub run: fn(&[u8]),
    /// Words of the format, which chance would not find.
    pub words: &'static [&'static str],
}

/// Whose bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A workload's.
    Tenant,
    /// Another machine's, over the network.
    Network,
    /// The operator's, or our own of an earlier run.
    Operator,
    /// The kernel's.
    Kernel,
}

impl From {
    /// For the page.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "a tenant",
            Self::Network => "the network",
            Self::Operator => "the operator",
            Self::Kernel => "the kernel",
        }
    }
}

const JSON: &[&str] = &[
    "{\"",
    "\":",
    "null",
    "[]",
    "[{",
    "}]",
    "1e308",
    "-1",
    "18446744073709551615",
    "\\u0000",
    "\\ud800",
];

#[rustfmt::skip] // A table is read by its columns.
/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "cgroup-path", from: From::Tenant, run: cgroup::fuzz::path, bytes: "the path of a cgroup", words: &["/kubepods.slice", "/docker/", "cri-containerd-", ".scope", ".slice", "/kubepods/burstable/pod", "/machine.slice/", "\\x2d", "crio-", "libpod-", "/..", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "user@1000.service"] },
    Target { name: "cgroup-file", from: From::Tenant, run: procfs::fuzz::cgroup, bytes: "`/proc/PID/cgroup`", words: &["0::/", "cpu,cpuacct:/", "name=systemd:/", " (deleted)", "\r\n"] },
    Target { name: "proc-stat", from: From::Tenant, run: procfs::fuzz::stat, bytes: "`/proc/PID/stat`", words: &[" (", ") R 1 (", ") S 1 ", "18446744073709551616", "4294967295"] },
    Target { name: "proc-status", from: From::Tenant, run: procfs::fuzz::status, bytes: "`/proc/PID/status`", words: &["Name:\t", "\nUid:\t0\t0\t0\t0\n", "Uid:", "4294967296"] },
    Target { name: "cmdline", from: From::Tenant, run: vms::fuzz::command_line, bytes: "`/proc/PID/cmdline` of a hypervisor", words: &["qemu-system-x86_64\0", "-name\0", "guest=", "-uuid\0", "-smp\0", "sockets=", "-m\0", "size=", "--id\0", "--startvm\0", "-machine\0", "none", ",,", "--memory\0", "-smbios\0", "uuid=", ".vmx", "--api-socket\0", "-xen-domid\0"] },
    Target { name: "libvirt", from: From::Tenant, run: vms::fuzz::libvirt, bytes: "libvirt's run-time XML", words: &["<domstatus pid='", "<domain type='kvm'>", "<name>", "</name>", "<uuid>", "</uuid>", "<vcpu current='", "<memory unit='KiB'>", "<currentMemory>", "<metadata>", "<nova:instance>", "<nova:name>", "<![CDATA[", "]]>", "<!--", "-->", "&amp;", "&#x41;", "</domain>", "<?xml"] },
    Target { name: "runtime-state", from: From::Tenant, run: runtimes::fuzz::state, bytes: "state of Docker, containerd, CRI-O, podman", words: &["\"Name\":\"/", "\"Config\":{", "\"Image\":", "\"Labels\":{", "\"annotations\":{", "\"io.kubernetes.cri.container-name\":", "\"io.kubernetes.pod.name\":", "\"names\":[", "\"metadata\":\"{", "\\u001b", "null"] },
    Target { name: "pods", from: From::Network, run: pods::fuzz::list, bytes: "lists of pods of API server and kubelet", words: &["{\"items\":[{", "\"metadata\":{", "\"uid\":", "\"ownerReferences\":[{", "\"controller\":true", "\"kind\":\"ReplicaSet\"", "\"labels\":{", "\"pod-template-hash\":", "\"containerStatuses\":[{", "\"containerID\":\"containerd://", "\"resources\":{\"requests\":{", "\"cpu\":\"100m\"", "\"initContainers\":[", "\"restartPolicy\":\"Always\"", "\\u0007", "null"] },
    Target { name: "pod-watch", from: From::Network, run: pods::fuzz::watch, bytes: "one line of a watch of pods, or a refusal", words: &["{\"type\":\"ADDED\",\"object\":{", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "\"code\":410", "\"message\":", "\"details\":{\"retryAfterSeconds\":", "\"resourceVersion\":"] },
    Target { name: "quantity", from: From::Network, run: reserved::fuzz::amounts, bytes: "quantities of Kubernetes, `cpu.max`, `memory.max`", words: &["max 100000", "Ki", "Mi", "Ei", "e3", "E-3", "m", "9223372036854775807", "n", "0.5"] },
    Target { name: "redfish", from: From::Network, run: redfish::fuzz::tree, bytes: "documents of a BMC", words: &["\"@odata.id\":\"/redfish/v1/", "\"Chassis\":{", "\"Members\":[", "\"Members@odata.nextLink\":", "\"PowerControl\":[{", "\"PowerConsumedWatts\":", "\"PowerWatts\":{\"Reading\":", "\"EnergyJoules\":{\"Reading\":", "\"PowerSupplies\":{", "\"ReadingType\":\"Power\"", "\"ContainedBy\":{", "\"Sensors\":{", "\"InputPowerWatts\":", "\"Status\":{\"State\":\"Absent\"}", "\n"] },
    Target { name: "redfish-value", from: From::Network, run: redfish::fuzz::value, bytes: "one figure of a BMC", words: JSON },
    Target { name: "dcmi", from: From::Network, run: ipmi::fuzz::dcmi, bytes: "an answer to DCMI's Get Power Reading", words: &["\0\u{dc}"] },
    Target { name: "headers", from: From::Network, run: exporter::fuzz::headers, bytes: "`Accept`, `Accept-Encoding`, `Authorization`; durations", words: &["application/openmetrics-text", "text/plain", "version=1.0.0", ";q=0.", "gzip", "zstd", "identity", "*", "Basic ", "Bearer ", "dXNlcjpwYXNz", "1h30m"] },
    Target { name: "daemon-json", from: From::Network, run: daemon::answers, bytes: "what a daemon answers `kepler top`, `snapshot`, `run`", words: JSON },
    Target { name: "daemon-events", from: From::Network, run: daemon::events, bytes: "events of a daemon", words: &["event: update\n", "data: {", "data\n", "\n\n", "\r\n", "id: 1\n", ": "] },
    Target { name: "config", from: From::Operator, run: daemon::configuration, bytes: "the configuration, TOML and YAML", words: &["tick = \"1s\"", "[exporter]", "[sources.rapl]", "listen = [", "[attribution.idle]", "floor = {", "security:\n", "tick: 5s", "\"\"\"", "&a", "*a", "<<: ", "!!int", "1979-05-27", "inf", "[[", "''"] },
    Target { name: "web-config", from: From::Operator, run: exporter::fuzz::web_config, bytes: "`web.config.file`", words: &["tls_server_config:\n", "  cert_file: ", "  client_auth_type: ", "basic_auth_users:\n", "$2y$10$", "http_server_config:\n", "  headers:\n", "rate_limit:\n", "  interval: ", "  burst: ", "&a", "*a", "- "] },
    Target { name: "tokens", from: From::Operator, run: exporter::fuzz::tokens, bytes: "`bearer_token_file`", words: &["0123456789abcdef", "=\n", "\r\n"] },
    Target { name: "model-file", from: From::Operator, run: models::model, bytes: "weight files, XGBoost's JSON, calibrated models", words: &["\"All_Weights\":{", "\"Bias_Weight\":", "\"Categorical_Variables\":{", "\"Numerical_Variables\":{", "\"bpf_cpu_time_ms\":{\"scale\":", "\"CurveFit_Weights\":[", "\"XGboost_Weights\":", "\"learner\":{", "\"gradient_booster\":", "\"trees\":[", "\"left_children\":[", "\"split_conditions\":[", "\"base_score\":\"5E-1\"", "reg:squarederror", "\"cpu_architecture\":", "1e308"] },
    Target { name: "calibrated-model", from: From::Operator, run: models::calibrated, bytes: "a model of `kepler calibrate`", words: &["\"format\":\"kepler-calibration\"", "\"knots\":[[0,10],[1,20]]", "\"levels\":[{", "\"busy\":0.5", "1e308", "-0.0"] },
    Target { name: "recording", from: From::Operator, run: attribution::recording::fuzz::recording, bytes: "a recording of `kepler record`", words: &["keplrec\u{1}"] },
    Target { name: "state-file", from: From::Operator, run: actors::state::fuzz::saved, bytes: "what was learned in an earlier run", words: &["\"version\":1", "\"zones\":[{", "\"points\":[{", "\"busy_ppm\":1000000", "18446744073709551615"] },
    Target { name: "proc-system", from: From::Kernel, run: procfs::fuzz::system, bytes: "`/proc/stat`, `/proc/loadavg`", words: &["cpu0 ", "ctxt ", "cpu  ", "18446744073709551615", " 1/780 "] },
    Target { name: "machine", from: From::Kernel, run: machine::fuzz::files, bytes: "`/proc/cpuinfo`, `/proc/meminfo`, lists of CPUs", words: &["model name\t: ", "@ 2.40GHz", "flags\t: hypervisor", "MemTotal: ", " kB", "0-3,8", "CPU implementer\t: 0x41", "CPU part\t: 0xd0c", "cpu family\t: 6"] },
    Target { name: "mountinfo", from: From::Kernel, run: cgroup::fuzz::mounts, bytes: "`/proc/self/mountinfo`", words: &[" - cgroup2 cgroup2 rw", " - cgroup cgroup rw,cpu,cpuacct", "\\040", " /../.. ", " /sys/fs/cgroup ", "name=systemd"] },
    Target { name: "sysfs", from: From::Kernel, run: meters::sysfs, bytes: "files of powercap, hwmon, perf, DRM", words: &["package-0-die-1", "intel-rapl:0:1", "event=0x02", "2.3283064365386962890625e-10", "psys-1", "0-3,7", "GenuineIntel", "0x74a0"] },
    Target { name: "fdinfo", from: From::Kernel, run: meters::fdinfo, bytes: "`/proc/PID/fdinfo/FD` of a GPU", words: &["drm-driver:\ti915\n", "drm-pdev:\t0000:03:00.0\n", "drm-client-id:\t", "drm-engine-render:\t1 ns\n", "drm-cycles-rcs:\t1\n", "drm-total-cycles-rcs:\t2\n", "drm-engine-capacity-video:\t2\n"] },
];

/// The target of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
