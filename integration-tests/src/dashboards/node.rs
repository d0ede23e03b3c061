// SPDX-License-Identifier: Apache-2.0
//! One node: its components and sockets, its meters against each other, and who on it draws most.

use super::panel::Panel;
use super::query::{PARTS, by_provenance, carbon, cost, estimated, kwh, sum, top, watts};
use super::{About, Choice, Dashboard, Section, board, choice, prices};

/// The node of the board.
const NODE: &str = "job=\"$job\", instance=\"$instance\"";
/// Of schema `kepler` alone.
const OURS: &str = "job=\"$job\", instance=\"$instance\", source!=\"\"";
const ALL: &str = "kepler_node_joules_total";

pub(super) fn node() -> Dashboard {
    let mut variables = vec![choice(
        "instance",
        "Node",
        "label_values(kepler_node_info{job=\"$job\"}, instance)",
        Choice::One,
        "The node, by its label instance.",
    )];
    variables.extend(prices());
    let about = About {
        uid: "kepler-node",
        title: "Kepler / Node",
        description: "What one node draws, by component and socket, and who on it draws most.",
        variables,
    };
    let section = |title, panels| Section { title, panels };
    board(
        about,
        vec![
            section("Now, and over the time shown", totals()),
            section("Power", power()),
            section("How sure this is", sureness()),
            section("Who draws most", ranking()),
            section("Accelerators", gpus()),
        ],
    )
}

fn totals() -> Vec<Panel> {
    let mode = |mode: &str| sum("", ALL, &format!("{NODE}, mode=\"{mode}\""));
    vec![
        Panel::number(
            "Power now",
            "Packages, memory, GPUs and other parts of this node, nothing counted twice.",
            "watt",
        )
        .query(&sum("", ALL, NODE), "power"),
        Panel::number("Dynamic", "The part of its power that work adds.", "watt")
            .query(&mode("dynamic"), "dynamic"),
        Panel::number(
            "Idle",
            "The part of its power that it would draw with nothing to do.",
            "watt",
        )
        .query(&mode("idle"), "idle"),
        Panel::number(
            "Energy",
            "Its energy over the time that is shown, in kilowatt-hours.",
            "kwatth",
        )
        .query(&kwh("", ALL, NODE), "energy"),
        Panel::number(
            "Cost ($currency)",
            "That energy times the price per kWh that is set above.",
            "none",
        )
        .query(&cost("", ALL, NODE), "cost"),
        Panel::number(
            "CO2e",
            "That energy times the carbon intensity that is set above, in kilograms of CO2 equivalent.",
            "masskg",
        )
        .query(&carbon("", ALL, NODE), "CO2e"),
    ]
}

fn power() -> Vec<Panel> {
    let mut components = Panel::areas(
        "By component",
        "Power by component, with the source of each figure and how it comes about: counted, integrated from watts, or estimated (dashed). The areas add up to the node.",
        "watt",
    );
    for (component, name) in PARTS {
        let legend = format!("{name}, {{{{provenance}}}} ({{{{source}}}})");
        components = components.query(&by_provenance("source, provenance", component, NODE), &legend);
    }
    vec![
        components,
        Panel::areas("Idle and dynamic", "Idle is what the node would draw with nothing to do, dynamic what work adds to it.", "watt")
            .query(&sum("mode", ALL, NODE), "{{mode}}"),
        Panel::lines(
            "By socket",
            "Power of each CPU package and of the memory beside it. core and uncore are parts of the package and must not be added to it.",
            "watt",
        )
        .query(&sum("package, source", "kepler_node_package_joules_total", OURS), "{{package}} ({{source}})")
        .query(&sum("package, source", "kepler_node_dram_joules_total", OURS), "{{package}}, memory ({{source}})")
        .query(&sum("package, source", "kepler_node_core_joules_total", OURS), "{{package}}, of it cores ({{source}})"),
        Panel::lines(
            "Platform against components",
            "The meter of the whole machine against the sum of its components. Where there is such a meter, what is neither package, memory nor GPU is \"other parts\", and the \
             lines meet. A platform that is estimated says nothing about the components.",
            "watt",
        )
        .query(&by_provenance("package, provenance, source", "platform", NODE), "platform {{package}}, {{provenance}} ({{source}})")
        .query(&sum("", ALL, NODE), "sum of components"),
    ]
}

fn sureness() -> Vec<Panel> {
    let error = |component: &str, name: &str| {
        let title = format!("Estimated {name}, with its error");
        let about = format!(
            "The estimate of {name} and the range around it: of ten machines that the model had not seen, nine were within. Empty where {name} is measured.",
        );
        Panel::lines(&title, &about, "watt")
            .query(&estimated(component, NODE, Some('-')), "lower end")
            .query(&estimated(component, NODE, Some('+')), "upper end")
            .query(&estimated(component, NODE, None), "estimated")
            .band("lower end", "upper end")
            .size(8, 8)
    };
    vec![
        error("package", "CPU packages"),
        error("platform", "platform"),
        Panel::table(
            "What measures what",
            "Where the figures of each component come from, and how.",
        )
        .column(
            "Zones",
            "short",
            &format!("max by (component, provenance, source, detail) (kepler_source_info{{{NODE}}})"),
        )
        .size(8, 8),
    ]
}

fn ranking() -> Vec<Panel> {
    let top_of = |level: &str, by: &str| top(&sum(by, &format!("kepler_{level}_joules_total"), NODE));
    vec![
        Panel::bars("Pods", "The ten pods on this node that draw most.", "watt")
            .query(&top_of("pod", "pod_namespace, pod_name"), "{{pod_namespace}}/{{pod_name}}")
            .link("This pod", "kepler-namespaces", "pod", "pod_name")
            .size(8, 9),
        Panel::bars(
            "Containers",
            "The ten containers that draw most. system_processes is all that runs outside of containers, kernel_processes the kernel's own threads. A container's power is in its pod's, too.",
            "watt",
        )
        .query(&top_of("container", "pod_name, container_name"), "{{pod_name}} {{container_name}}")
        .size(8, 9),
        Panel::bars("Units", "The ten systemd units that draw most: what runs outside of containers and virtual machines.", "watt")
            .query(&top_of("unit", "slice, unit"), "{{slice}} {{unit}}")
            .size(8, 9),
        Panel::bars("Virtual machines", "The ten virtual machines that draw most. Empty where there are none.", "watt")
            .query(&top_of("vm", "vm_name, hypervisor"), "{{vm_name}} ({{hypervisor}})")
            .size(8, 9),
        Panel::bars(
            "Processes",
            "The ten processes that draw most. Those too small for a series of their own are summed as \"other\".",
            "watt",
        )
        .query(&top_of("process", "pid, command"), "{{command}} ({{pid}})")
        .size(8, 9),
        Panel::lines(
            "Nobody's",
            "Energy that no workload is charged for. unreserved: idle energy that nobody reserved. unattributed: work that nobody could be found for.",
            "watt",
        )
        .query(&watts("kepler_node_unattributed_joules_total", NODE), "{{component}}, unattributed")
        .query(&watts("kepler_node_unreserved_idle_joules_total", NODE), "{{component}}, unreserved")
        .size(8, 9),
    ]
}

fn gpus() -> Vec<Panel> {
    vec![
        Panel::lines("GPUs", "Power of each GPU, by its UUID.", "watt")
            .query(&sum("package, source", "kepler_node_gpu_joules_total", OURS), "{{package}} ({{source}})")
            .size(8, 9),
        Panel::lines(
            "GPU power by container",
            "What each container's use of GPUs draws. A GPU is paid by those who use that GPU, and by nobody else.",
            "watt",
        )
        .query(&top(&sum("pod_name, container_name", "kepler_container_gpu_joules_total", OURS)), "{{pod_name}} {{container_name}}")
        .size(8, 9),
        Panel::lines("GPU use by container", "How many GPUs' compute each container uses: 1 is one GPU wholly in use.", "short")
            .query(
                &top(&sum("pod_name, container_name, gpu_id", "kepler_container_gpu_compute_util_total", NODE)),
                "{{pod_name}} {{container_name}} on {{gpu_id}}",
            )
            .size(8, 9),
    ]
}
