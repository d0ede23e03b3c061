// SPDX-License-Identifier: Apache-2.0
//! Variables that Kubernetes and Docker inject for a service or container called `kepler...`, told by their shape.
//!
//! They share our prefix by accident and must never stop the daemon. Sources: Kubernetes, "Discovering services"
//! (`{SVCNAME}_SERVICE_HOST`, `{SVCNAME}_SERVICE_PORT`, one more per named port, and the Docker-compatible set);
//! Docker, "Legacy container links" (`<alias>_PORT...`, `<alias>_NAME`, `<alias>_ENV_<name>`).

/// Whether a variable with our prefix is such a link. `value` is `None` where it is no UTF-8.
pub(crate) fn is_service_link(variable: &str, value: Option<&str>) -> bool {
    // Two underscores in a row join our sections. A port's name cannot make them (IANA service names have no two
    // dashes in a row), and a service called `kepler--x` is less likely than `KEPLER_EXPORTER__...`.
    if variable.contains("__") {
        return false;
    }
    let words: Vec<&str> = variable.split('_').collect();
    let ends_with = |tail: &[&str]| words.len() > tail.len() && words.ends_with(tail);
    let is_port_number = |word: &str| word.parse::<u16>().is_ok();
    let is_protocol = |word: &str| matches!(word, "TCP" | "UDP" | "SCTP");

    if ends_with(&["SERVICE", "HOST"]) || words.windows(2).any(|pair| pair == ["SERVICE", "PORT"]) {
        return true;
    }
    // NAME_PORT_9102_TCP and NAME_PORT_9102_TCP_{ADDR,PORT,PROTO}, for Docker's ranges also _START and _END.
    let port_and_protocol = |quad: &[&str]| match quad {
        ["PORT", number, protocol, rest @ ..] => {
            is_port_number(number)
                && is_protocol(protocol)
                && matches!(rest, [] | ["ADDR" | "PORT" | "PROTO" | "START" | "END"])
        }
        _ => false,
    };
    if (1..words.len()).any(|start| words.get(start..).is_some_and(port_and_protocol)) {
        return true;
    }
    // The rest could be words of ours, so the value has to look like a link as well.
    let Some(value) = value else {
        return false;
    };
    if ends_with(&["PORT"]) {
        return ["tcp://", "udp://", "sctp://"]
            .iter()
            .any(|scheme| value.starts_with(scheme));
    }
    if ends_with(&["NAME"]) {
        // /consumer/alias
        return value.starts_with('/') && value.matches('/').count() == 2;
    }
    words.get(1) == Some(&"ENV") && words.len() > 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_kubernetes_and_docker_are_told_from_settings() {
        let table = [
            ("KEPLER_SERVICE_HOST", "10.0.0.1", true),
            ("KEPLER_SERVICE_PORT", "28282", true),
            ("KEPLER_SERVICE_PORT_HTTP", "28282", true),
            ("KEPLER_SERVICE_PORT_HTTP_METRICS", "28282", true),
            ("KEPLER_PORT", "tcp://10.0.0.1:28282", true),
            ("KEPLER_PORT", "udp://10.0.0.1:28282", true),
            ("KEPLER_PORT_28282_TCP", "tcp://10.0.0.1:28282", true),
            ("KEPLER_PORT_28282_TCP_ADDR", "10.0.0.1", true),
            ("KEPLER_PORT_28282_TCP_PORT", "28282", true),
            ("KEPLER_PORT_28282_TCP_PROTO", "tcp", true),
            ("KEPLER_PORT_28282_SCTP", "sctp://10.0.0.1:28282", true),
            ("KEPLER_EXPORTER_SERVICE_HOST", "10.0.0.1", true),
            ("KEPLER_EXPORTER_SERVICE_PORT_METRICS", "28282", true),
            ("KEPLER_EXPORTER_PORT", "tcp://10.0.0.1:28282", true),
            ("KEPLER_EXPORTER_PORT_28282_TCP", "tcp://10.0.0.1:28282", true),
            ("KEPLER_EXPORTER_PORT_28282_TCP_ADDR", "fd00::1", true),
            ("KEPLER_NAME", "/web/kepler", true),
            ("KEPLER_ENV_PATH", "/bin", true),
            // What a person would write stays ours, to be taken or refused.
            ("KEPLER_PORT", "28282", false),
            ("KEPLER_NAME", "node-7", false),
            ("KEPLER_TICK", "1s", false),
            ("KEPLER_TIKC", "tcp://10.0.0.1:1", false),
            ("KEPLER_EXPORTER__LISTEN", "127.0.0.1:28282", false),
            ("KEPLER_EXPORTER__SERVICE_PORT", "1", false),
            ("KEPLER_PORT_70000_TCP", "tcp://10.0.0.1:70000", false),
            ("KEPLER_PORT_28282_TCP_BANANA", "1", false),
            ("KEPLER_PORT_28282", "1", false),
            ("KEPLER_SERVICE", "1", false),
            ("KEPLER_ENV", "1", false),
        ];
        for (variable, value, expected) in table {
            assert_eq!(
                is_service_link(variable, Some(value)),
                expected,
                "{variable}={value}"
            );
        }
    }

    #[test]
    fn a_link_by_name_needs_no_readable_value() {
        assert!(is_service_link("KEPLER_SERVICE_HOST", None));
        assert!(!is_service_link("KEPLER_PORT", None));
    }
}
