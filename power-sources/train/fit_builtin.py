#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fits the estimator's built-in model and prints the constants of src/estimator/model.rs.

    python3 power-sources/train/fit_builtin.py SHARED/data/specpower_ssj2008.csv

Input: published SPECpower_ssj2008 results (spec.org, power_ssj2008): machine and average wall watts at active idle
and at ten target loads. The table itself is not part of this repository. Standard library only; no randomness, so the
same table gives the same constants.

What is fitted, from what a daemon can find out by itself (threads, sockets, memory, busy share):

    idle watts    = a0 * size + b0 * GiB
    dynamic watts = (a1 * size + b1 * GiB) * shape(busy)

    physical machine: size = sum over sockets of sqrt(threads of the socket); more threads on one die share its uncore
    guest:            size = threads; a share of a host must not depend on how the hypervisor draws sockets, and twice
                      the share must cost twice as much

No form has a constant, so a small guest never pays for a whole server. a, b minimise the sum of |log(predicted /
actual)|: relative, symmetric, and robust against single odd results. shape is the median over machines of the share of
dynamic power at each load, linear in between. Machines of 2016 and later only: older ones draw two to ten times as much
per thread. Errors come from 10-fold cross-validation; all results of one CPU model are in the same fold.
"""

import csv
import math
import statistics
import sys

FIRST_YEAR = 2016
FOLDS = 10
LEVELS = list(range(0, 101, 10))


def load(path):
    machines = []
    with open(path, newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            machines.append(
                {
                    "year": int(row["year"]),
                    "cpu": " ".join(row["cpu"].lower().split()),
                    "threads": int(float(row["threads"])),
                    "chips": int(float(row["chips"])),
                    "gib": float(row["memory_gib"]),
                    "watts": [float(row["watts_idle" if level == 0 else f"watts_{level}"]) for level in LEVELS],
                }
            )
    return machines


def physical_size(threads, sockets):
    return sockets * math.sqrt(threads / sockets)


def guest_size(threads, _sockets):
    return float(threads)


def fit_line(machines, size, target):
    """a, b > 0 that minimise sum |log((a * size + b * gib) / target)|: pattern search on their logarithms."""
    cases = [(size(m["threads"], m["chips"]), m["gib"], math.log(target(m))) for m in machines]

    def loss(logs):
        a, b = math.exp(logs[0]), math.exp(logs[1])
        return sum(abs(math.log(a * s + b * g) - t) for s, g, t in cases)

    at, step = [0.0, -2.0], 1.0
    best = loss(at)
    while step > 1e-5:
        moved = False
        for by in ((step, 0), (-step, 0), (0, step), (0, -step), (step, -step), (-step, step)):
            there = [at[0] + by[0], at[1] + by[1]]
            value = loss(there)
            if value < best - 1e-12:
                at, best, moved = there, value, True
        if not moved:
            step /= 2
    return math.exp(at[0]), math.exp(at[1])


def fit(machines, size):
    idle = fit_line(machines, size, lambda m: m["watts"][0])
    dynamic = fit_line(machines, size, lambda m: m["watts"][10] - m["watts"][0])
    shape = []
    for level in range(11):
        shares = [(m["watts"][level] - m["watts"][0]) / (m["watts"][10] - m["watts"][0]) for m in machines]
        shape.append(max([*shape, statistics.median(shares)]))
    # Rounded to what model.rs holds, so that the errors below are those of the shipped constants.
    return (
        [round(x, 3) for x in idle],
        [round(x, 3) for x in dynamic],
        [round(x, 3) for x in shape],
    )


def predict(model, size, gib, busy):
    (a0, b0), (a1, b1), shape = model
    at = min(max(busy, 0.0), 1.0) * 10
    low = min(int(at), 9)
    share = shape[low] + (shape[low + 1] - shape[low]) * (at - low)
    return a0 * size + b0 * gib + (a1 * size + b1 * gib) * share


def relative_errors(model, size, machines):
    return [
        [
            abs(predict(model, size(m["threads"], m["chips"]), m["gib"], level / 100) / m["watts"][level // 10] - 1)
            for level in LEVELS
        ]
        for m in machines
    ]


def quantile(values, share):
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, math.ceil(share * len(ranked)) - 1)]


def summary(name, errors):
    def pair(values):
        return f"{quantile(values, 0.5):.3f} {quantile(values, 0.9):.3f}"

    everything = [e for machine in errors for e in machine]
    print(
        f"{name}: median p90  all levels {pair(everything)}  idle {pair([m[0] for m in errors])}"
        f"  50 % {pair([m[5] for m in errors])}  100 % {pair([m[10] for m in errors])}"
    )


def cross_validate(machines, size):
    cpus = sorted({m["cpu"] for m in machines})
    fold_of = {cpu: index % FOLDS for index, cpu in enumerate(cpus)}
    errors = []
    for fold in range(FOLDS):
        model = fit([m for m in machines if fold_of[m["cpu"]] != fold], size)
        errors += relative_errors(model, size, [m for m in machines if fold_of[m["cpu"]] == fold])
    return errors


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: fit_builtin.py specpower_ssj2008.csv")
    machines = load(sys.argv[1])
    recent = [m for m in machines if m["year"] >= FIRST_YEAR]
    print(f"machines: {len(recent)} of {FIRST_YEAR} and later, {len({m['cpu'] for m in recent})} CPU models")
    print(
        f"ranges: threads {min(m['threads'] for m in recent)}..{max(m['threads'] for m in recent)}"
        f", sockets 1..{max(m['chips'] for m in recent)}"
        f", GiB {min(m['gib'] for m in recent):.0f}..{max(m['gib'] for m in recent):.0f}"
        f", GiB per thread {min(m['gib'] / m['threads'] for m in recent):.2f}"
        f"..{max(m['gib'] / m['threads'] for m in recent):.2f}"
    )
    models = {}
    for name, size in (("physical", physical_size), ("guest", guest_size)):
        model = models[name] = fit(recent, size)
        print(f"\n{name}: idle watts a0={model[0][0]} b0={model[0][1]}  dynamic watts a1={model[1][0]} b1={model[1][1]}")
        print(f"{name}: shape {model[2]}")
        summary(f"{name}: cross-validated, {FIRST_YEAR} and later", cross_validate(recent, size))
        older = [m for m in machines if 2012 <= m["year"] < FIRST_YEAR]
        summary(f"{name}: never seen, 2012 to {FIRST_YEAR - 1} ({len(older)})", relative_errors(model, size, older))

    print("\ngolden: guest, sockets, threads, GiB, busy permille -> milliwatts")
    for name, sockets, threads, gib in (
        ("physical", 1, 8, 16),
        ("physical", 1, 128, 128),
        ("physical", 2, 112, 192),
        ("guest", 1, 2, 4),
        ("guest", 2, 2, 8),
        ("guest", 1, 64, 256),
    ):
        size = {"physical": physical_size, "guest": guest_size}[name](threads, sockets)
        for permille in (0, 35, 250, 500, 1000):
            watts = predict(models[name], size, gib, permille / 1000)
            guest = "true" if name == "guest" else "false"
            print(f"({guest}, {sockets}, {threads}, {gib}, {permille}, {round(watts * 1000)}),")


if __name__ == "__main__":
    main()
