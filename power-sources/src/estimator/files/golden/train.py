#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the XGBoost models of this folder on made-up data, and writes what XGBoost itself predicts with them.

    python3 -m venv venv && venv/bin/pip install xgboost==3.2.0
    venv/bin/python power-sources/src/estimator/files/golden/train.py FOLDER [--many]

Each NAME.json is a model as `save_model` wrote it, NAME.expected.json its predictions: {"xgboost": version, "rows": [[features,
...], ...], "watts": [...]}; a missing feature is null. The committed files are small; `--many` trains more and larger ones, for
a check by hand (tests.rs, `XGBOOST_MODELS=FOLDER`).
"""

import itertools
import json
import pathlib
import sys

import numpy as np
import xgboost as xgb

THREADS = 8


def data(rows, names, seed):
    """Busy milliseconds per second, and counters that follow them; watts of a machine that saturates."""
    rng = np.random.default_rng(seed)
    busy = rng.uniform(0, THREADS * 1000, rows)
    columns = {
        "bpf_cpu_time_ms": busy,
        "cpu_cycles": busy * 3e6 * rng.uniform(0.6, 1.1, rows),
        "cpu_instructions": busy * 3e6 * rng.uniform(0.3, 2.5, rows),
        "cache_miss": busy * 3e4 * rng.uniform(0.1, 3, rows),
    }
    share = busy / (THREADS * 1000)
    watts = 35 + 80 * share**0.7 + 2e-8 * columns["cache_miss"] + rng.normal(0, 2, rows)
    return np.column_stack([columns[name] for name in names]), np.maximum(watts, 1)


def train(folder, name, names, params, rounds, missing=False, seed=7):
    x, watts = data(400, names, seed)
    if missing:
        x[np.random.default_rng(seed).uniform(0, 1, x.shape) < 0.1] = np.nan
    booster = xgb.train(params | {"nthread": 1, "seed": seed}, xgb.DMatrix(x, watts, feature_names=names), rounds)
    booster.save_model(folder / f"{name}.json")
    model = json.loads((folder / f"{name}.json").read_text())
    probe, _ = data(24, names, seed + 1)
    # Exactly on conditions, and one float beside them.
    trees = model["learner"]["gradient_booster"]["model"]["trees"]
    splits = [
        (feature, condition)
        for tree in trees
        for left, feature, condition in zip(tree["left_children"], tree["split_indices"], tree["split_conditions"])
        if left != -1
    ]
    for feature, condition in splits[:: max(1, len(splits) // 12)]:
        for value in (np.float32(condition), np.nextafter(np.float32(condition), np.float32(-1), dtype=np.float32)):
            row = probe[0].copy()
            row[feature] = value
            probe = np.vstack([probe, row])
    if missing:
        probe[::5, 0] = np.nan
    got = booster.predict(xgb.DMatrix(probe, feature_names=names))
    expected = {
        "xgboost": xgb.__version__,
        "rows": [[None if np.isnan(value) else float(value) for value in row] for row in probe],
        "watts": [float(value) for value in got],
    }
    (folder / f"{name}.expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    time, all4 = ["bpf_cpu_time_ms"], ["bpf_cpu_time_ms", "cpu_cycles", "cpu_instructions", "cache_miss"]
    squared = {"objective": "reg:squarederror"}
    if "--many" not in sys.argv:
        train(folder, "squared", time, squared | {"max_depth": 3, "eta": 0.3}, 8)
        train(folder, "counters", all4, squared | {"max_depth": 2, "eta": 0.5, "base_score": 0.5}, 8, missing=True)
        train(folder, "gamma", time, {"objective": "reg:gamma", "max_depth": 2, "eta": 0.5}, 6)
        return
    objectives = [
        "reg:squarederror",
        "reg:absoluteerror",
        "reg:pseudohubererror",
        "reg:squaredlogerror",
        "reg:gamma",
        "reg:tweedie",
        "count:poisson",
    ]
    grid = itertools.product(objectives, [2, 6, 10], [0.05, 0.5], [None, 0.5, 60.0], [time, all4])
    for number, (objective, depth, eta, base, names) in enumerate(grid):
        params = {"objective": objective, "max_depth": depth, "eta": eta}
        if base is not None:
            params["base_score"] = base
        train(folder, f"m{number:03}", names, params, 40, missing=number % 2 == 1, seed=number)
    train(folder, "forest", all4, squared | {"num_parallel_tree": 8, "subsample": 0.5, "eta": 1}, 3)
    train(folder, "lossguide", all4, squared | {"grow_policy": "lossguide", "max_leaves": 60, "max_depth": 0, "tree_method": "hist"}, 30)
    train(folder, "pruned", time, squared | {"gamma": 200, "tree_method": "exact"}, 20)
    train(folder, "quantile", time, {"objective": "reg:quantileerror", "quantile_alpha": 0.5}, 20)


main()
