// SPDX-License-Identifier: Apache-2.0
//! All nodes together: what they draw, who pays, what it costs, and how much of it is measured.

use super::panel::Panel;
use super::query::{OF_PARTS, PARTS, by_provenance, carbon, cost, kwh, sum, top};
use super::{About, Dashboard, Section, board, prices};

/// All nodes of the job.
const ALL: &str = "job=\"$job\"";
const NODE: &str = "kepler_node_joules_total";
const CONTAINER: &str = "kepler_container_joules_total";
const POD: &str = "kepler_pod_joules_total";
const GPU: &str = "kepler_node_gpu_joules_total";
/// Of schema `kepler` alone: today's Kepler calls some of its series the same, without a source.
const OURS: &str = "job=\"$job\", source!=\"\"";

pub(super) fn cluster() -> Dashboard {
    let about = About {
        uid: "kepler-cluster",
        title: "Kepler / Cluster",
        description: "What all nodes draw, what it costs, and which namespaces and nodes it goes to.",
        variables: prices().into(),
    };
    let section = |title, panels| Section { title, panels };
    board(
        about,
        vec![
            section("Now, and over the time shown", totals()),
            section("Power", power()),
            section("Who it goes to", ranking()),
            section("Accelerators", gpus()),
            section("How sure this is", sureness()),
        ],
    )
}

fn totals() -> Vec<Panel> {
    vec![
        Panel::number(
            "Power now",
            "Mean power of all nodes over the last minutes: CPU packages, memory, GPUs and other parts, nothing counted twice.",
            "watt",
        )
        .query(&sum("", NODE, ALL), "power"),
        Panel::number(
            "Idle share",
            "How much of the power the nodes would draw with nothing to do. High means that few nodes do much: packing work on fewer of them saves most.",
            "percentunit",
        )
        .query(&format!("{} / {}", sum("", NODE, &format!("{ALL}, mode=\"idle\"")), sum("", NODE, ALL)), "idle share"),
        Panel::number("Energy", "Energy of all nodes over the time that is shown, in kilowatt-hours.", "kwatth")
            .query(&kwh("", NODE, ALL), "energy"),
        Panel::number("Cost ($currency)", "That energy times the price per kWh that is set above.", "none")
            .query(&cost("", NODE, ALL), "cost"),
        Panel::number("CO2e", "That energy times the carbon intensity that is set above, in kilograms of CO2 equivalent.", "masskg")
            .query(&carbon("", NODE, ALL), "CO2e"),
        Panel::number("Nodes seen", "Nodes that tell their power now.", "short")
            .query(&format!("count(count by (instance) (kepler_node_info{{{ALL}}}))"), "nodes"),
    ]
}

fn power() -> Vec<Panel> {
    let mut components = Panel::areas(
        "By component",
        "Power of all nodes by component, and how each figure comes about: counted by hardware, integrated from watts that hardware tells, or estimated by a model. \
         Estimates have dashed lines.",
        "watt",
    );
    for (component, name) in PARTS {
        components = components.query(
            &by_provenance("provenance", component, ALL),
            &format!("{name}, {{{{provenance}}}}"),
        );
    }
    vec![
        components,
        Panel::areas(
            "Idle and dynamic",
            "Idle is what the nodes would draw with nothing to do, dynamic what work adds to it. Together they are the power of all nodes.",
            "watt",
        )
        .query(&sum("mode", NODE, ALL), "{{mode}}"),
        Panel::lines("By node", "Power of each node: packages, memory, GPUs and other parts.", "watt")
            .query(&sum("instance", NODE, ALL), "{{instance}}")
            .link("This node", "kepler-node", "instance", "instance"),
        Panel::lines(
            "Platform against components",
            "What meters of whole machines say (a BMC, say), against the sum of the components. Where a machine has a platform meter, what is neither package, memory nor \
             GPU is in \"other parts\", and the two lines meet; where it has none, its platform is estimated.",
            "watt",
        )
        .query(&by_provenance("provenance", "platform", ALL), "platform, {{provenance}}")
        .query(&sum("", NODE, ALL), "sum of components"),
    ]
}

fn ranking() -> Vec<Panel> {
    let nobody = |metric: &str| sum("", metric, &format!("{ALL}, {OF_PARTS}"));
    let mode = |mode: &str| sum("", CONTAINER, &format!("{ALL}, mode=\"{mode}\""));
    vec![
        bill(Panel::table(
            "Namespaces",
            "What each namespace draws now, and its energy, cost and CO2e over the time that is shown. system is what runs outside of containers, kernel the kernel's own threads.",
        ), "container_namespace", CONTAINER)
        .link("This namespace", "kepler-namespaces", "namespace", "container_namespace"),
        bill(Panel::table("Nodes", "What each node draws now, and its energy, cost and CO2e over the time that is shown."), "instance", NODE)
            .link("This node", "kepler-node", "instance", "instance"),
        Panel::areas("Largest namespaces", "Power of the ten namespaces that draw most.", "watt")
            .query(&top(&sum("container_namespace", CONTAINER, ALL)), "{{container_namespace}}"),
        Panel::bars("Largest pods", "The ten pods that draw most now, idle energy that they pay included.", "watt")
            .query(&top(&sum("pod_namespace, pod_name", POD, ALL)), "{{pod_namespace}}/{{pod_name}}")
            .link("This pod", "kepler-namespaces", "pod", "pod_name"),
        Panel::areas(
            "Who pays",
            "All power of the nodes by who is charged for it. Work: containers and host processes, while they ran. Reserved: idle power, paid by who reserved the machine. \
             Unreserved: idle power that nobody reserved. Unattributed: work that nobody could be found for, such as a GPU's that is busy without a known user.",
            "watt",
        )
        .query(&mode("dynamic"), "work")
        .query(&mode("idle"), "reserved (idle)")
        .query(&nobody("kepler_node_unreserved_idle_joules_total"), "unreserved (idle)")
        .query(&nobody("kepler_node_unattributed_joules_total"), "unattributed"),
    ]
}

/// The columns that a bill has.
pub(super) fn bill(panel: Panel, by: &str, counter: &str) -> Panel {
    bill_of(panel, by, counter, ALL)
}

/// The same of these series alone.
pub(super) fn bill_of(panel: Panel, by: &str, counter: &str, matchers: &str) -> Panel {
    panel
        .column("Power", "watt", &sum(by, counter, matchers))
        .column("Energy", "kwatth", &kwh(by, counter, matchers))
        .column("Cost ($currency)", "none", &cost(by, counter, matchers))
        .column("CO2e", "masskg", &carbon(by, counter, matchers))
}

fn gpus() -> Vec<Panel> {
    vec![
        Panel::lines("GPUs by node", "Power of all GPUs of a node.", "watt").query(&sum("instance", GPU, OURS), "{{instance}}"),
        Panel::areas(
            "GPUs by namespace",
            "GPU power by the namespace whose processes used the GPU, as its driver samples it. What a GPU uses without a known user is in nobody's.",
            "watt",
        )
        .query(
            &top(&sum("container_namespace", "kepler_container_gpu_joules_total", OURS)),
            "{{container_namespace}}",
        ),
    ]
}

fn sureness() -> Vec<Panel> {
    vec![
        Panel::table(
            "What measures what",
            "How many nodes have a component's figure from which source. counted: hardware counts energy. integrated: hardware tells watts, which are summed. estimated: a model says \
             what such a machine usually draws; no such figure is a measurement.",
        )
        .column(
            "Nodes",
            "short",
            &format!("count by (component, provenance, source) (kepler_source_info{{{ALL}}})"),
        ),
        Panel::bars(
            "Expected error of estimates",
            "How far off the estimates of a component may be: nine of ten machines that the model had not seen were nearer. 50 % means that 100 W may be 50 or 150. The worst node is shown. Empty where \
             everything is measured.",
            "percentunit",
        )
        .query(&format!("max by (component) (kepler_estimate_relative_error{{{ALL}}})"), "{{component}}, estimated"),
    ]
}
