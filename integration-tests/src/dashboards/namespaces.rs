// SPDX-License-Identifier: Apache-2.0
//! Namespaces and their pods: what a team's software draws and costs, on whichever nodes it runs.

use super::cluster::bill_of;
use super::panel::Panel;
use super::query::{PARTS, carbon, cost, kwh, sum, top, watts};
use super::{About, Choice, Dashboard, Section, board, choice, prices};

/// Pods of the board.
const PODS: &str = "job=\"$job\", pod_namespace=~\"$namespace\", pod_name=~\"$pod\"";
/// Their containers.
const CONTAINERS: &str = "job=\"$job\", container_namespace=~\"$namespace\", pod_name=~\"$pod\"";
/// Of schema `kepler` alone.
const OURS: &str = "job=\"$job\", pod_namespace=~\"$namespace\", pod_name=~\"$pod\", source!=\"\"";
const POD: &str = "kepler_pod_joules_total";

pub(super) fn namespaces() -> Dashboard {
    let mut variables = vec![
        choice(
            "namespace",
            "Namespace",
            "label_values(kepler_pod_joules_total{job=\"$job\"}, pod_namespace)",
            Choice::Several,
            "Namespaces of Kubernetes.",
        ),
        choice(
            "pod",
            "Pod",
            "label_values(kepler_pod_joules_total{job=\"$job\", pod_namespace=~\"$namespace\"}, pod_name)",
            Choice::Several,
            "Pods in them.",
        ),
    ];
    variables.extend(prices());
    let about = About {
        uid: "kepler-namespaces",
        title: "Kepler / Namespaces and pods",
        description: "What the pods of a namespace draw and cost, wherever they run.",
        variables,
    };
    let section = |title, panels| Section { title, panels };
    board(
        about,
        vec![
            section("Now, and over the time shown", totals()),
            section("Namespaces", of_namespaces()),
            section("Pods", of_pods()),
            section("Accelerators", gpus()),
        ],
    )
}

fn totals() -> Vec<Panel> {
    // A month of 30 days has 720 hours.
    let month = format!("{} * 720 / 1000 * $price", sum("", POD, PODS));
    vec![
        Panel::number(
            "Power now",
            "Mean power of the chosen pods, the idle power that they pay included.",
            "watt",
        )
        .query(&sum("", POD, PODS), "power"),
        Panel::number(
            "Energy",
            "Their energy over the time that is shown, in kilowatt-hours.",
            "kwatth",
        )
        .query(&kwh("", POD, PODS), "energy"),
        Panel::number(
            "Cost ($currency)",
            "That energy times the price per kWh that is set above.",
            "none",
        )
        .query(&cost("", POD, PODS), "cost"),
        Panel::number(
            "30 days like now ($currency)",
            "What 30 days at the power of now would cost.",
            "none",
        )
        .query(&month, "cost of 30 days"),
        Panel::number(
            "CO2e",
            "That energy times the carbon intensity that is set above, in kilograms of CO2 equivalent.",
            "masskg",
        )
        .query(&carbon("", POD, PODS), "CO2e"),
        Panel::number(
            "Pods seen",
            "Chosen pods that are seen now, and those that ended in the last minutes.",
            "short",
        )
        .query(
            &format!("count(count by (pod_namespace, pod_name) ({POD}{{{PODS}}}))"),
            "pods",
        ),
    ]
}

fn of_namespaces() -> Vec<Panel> {
    let mut components = Panel::areas(
        "By component",
        "Power of the chosen pods by component, and by source: trained_power_model is an estimate, and its lines are dashed.",
        "watt",
    );
    for (component, name) in PARTS {
        let counter = format!("kepler_pod_{component}_joules_total");
        // The word by which estimates are drawn as such; the name of the model is the interface's.
        let marked = format!(
            "label_replace({}, \"how\", \"estimated, \", \"source\", \"trained_power_model\")",
            sum("source", &counter, OURS)
        );
        components = components.query(&marked, &format!("{name}, {{{{how}}}}{{{{source}}}}"));
    }
    vec![
        bill_of(
            Panel::table("Namespaces", "What each namespace's pods draw now, and their energy, cost and CO2e over the time that is shown."),
            "pod_namespace",
            POD,
            PODS,
        ),
        Panel::areas("Power by namespace", "Power of the ten namespaces that draw most.", "watt")
            .query(&top(&sum("pod_namespace", POD, PODS)), "{{pod_namespace}}"),
        components,
        Panel::areas(
            "Idle and dynamic",
            "dynamic: what their work adds. idle: their part of what the nodes draw with nothing to do, by what they reserved (attribution.idle.share).",
            "watt",
        )
        .query(&sum("mode", POD, PODS), "{{mode}}"),
    ]
}

fn of_pods() -> Vec<Panel> {
    let work = watts(POD, &format!("{PODS}, mode=\"dynamic\""));
    // Milliseconds of CPU time a second are thousandths of a CPU.
    let cpu = watts("kepler_pod_bpf_cpu_time_ms_total", PODS);
    let by = "pod_namespace, pod_name";
    vec![
        bill_of(
            Panel::table("Pods", "What each pod draws now, and its energy, cost and CO2e over the time that is shown.").size(24, 10),
            by,
            POD,
            PODS,
        )
        .link("Only this pod", "kepler-namespaces", "pod", "pod_name"),
        Panel::areas("Power by pod", "Power of the ten pods that draw most.", "watt").query(&top(&sum(by, POD, PODS)), "{{pod_namespace}}/{{pod_name}}"),
        Panel::areas("Power by container", "Power of the ten containers of these pods that draw most.", "watt").query(
            &top(&sum("pod_name, container_name", "kepler_container_joules_total", CONTAINERS)),
            "{{pod_name}} {{container_name}}",
        ),
        Panel::lines("CPU by pod", "How many CPUs each of the ten busiest pods keeps busy.", "short")
            .query(&top(&format!("sum by ({by}) ({cpu}) / 1000")), "{{pod_namespace}}/{{pod_name}}"),
        Panel::lines(
            "Watts per busy CPU",
            "Dynamic power of a pod over the CPUs that it keeps busy. Pods differ by the nodes on which they run, by GPUs, and by what their instructions cost; memory-bound work is dearer.",
            "watt",
        )
        .query(
            &top(&format!("sum by ({by}) ({work}) / (sum by ({by}) ({cpu}) / 1000 > 0.01)")),
            "{{pod_namespace}}/{{pod_name}}",
        ),
        Panel::areas(
            "Where they run",
            "Power of the chosen pods by the node on which they run.",
            "watt",
        )
        .query(&sum("instance", POD, PODS), "{{instance}}")
        .link("This node", "kepler-node", "instance", "instance"),
        Panel::lines(
            "Share of the whole machine's power",
            "What the chosen pods are charged of the whole machine's power (platform), power supply losses and fans included, by source. Not to be added to the components.",
            "watt",
        )
        .query(&sum("pod_namespace, source", "kepler_pod_platform_joules_total", OURS), "{{pod_namespace}} ({{source}})"),
    ]
}

fn gpus() -> Vec<Panel> {
    let by = "pod_namespace, pod_name";
    vec![
        Panel::areas("GPU power by pod", "What each pod's use of GPUs draws.", "watt").query(
            &top(&sum(by, "kepler_pod_gpu_joules_total", OURS)),
            "{{pod_namespace}}/{{pod_name}}",
        ),
        Panel::lines(
            "GPU use by pod",
            "How many GPUs' compute each pod uses: 1 is one GPU wholly in use.",
            "short",
        )
        .query(
            &top(&sum(by, "kepler_pod_gpu_compute_util_total", PODS)),
            "{{pod_namespace}}/{{pod_name}}",
        ),
    ]
}
