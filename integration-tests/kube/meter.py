#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""meter.py FOLDER TRUTH: a powercap tree of one package in FOLDER, which draws the same power all the time. TRUTH says since when, by
CLOCK_MONOTONIC in nanoseconds, and how many watts."""
import os
import sys
import time

WATTS = 40
folder, truth = sys.argv[1:]
zone = os.path.join(folder, "intel-rapl:0")
os.makedirs(zone, exist_ok=True)


def write(path, text):
    """As a whole: who reads sees the old or the new."""
    with open(path + ".fresh", "w", encoding="ascii") as file:
        file.write(text + "\n")
    os.rename(path + ".fresh", path)


write(os.path.join(zone, "name"), "package-0")
write(os.path.join(zone, "max_energy_range_uj"), "262143328850")
began = time.monotonic_ns()
write(truth, f"{began} {WATTS}")
while True:
    write(os.path.join(zone, "energy_uj"), str(1_000_000 + (time.monotonic_ns() - began) // 1000 * WATTS))
    time.sleep(0.02)
