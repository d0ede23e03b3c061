# SPDX-License-Identifier: Apache-2.0
"""What `run.sh real` runs: facts about the real library, then the daemon beside its own counter under a known load.

`real.py KEPLER FOLDER` is the experiment; `real.py worker` is one process of load, driven over its stdin.
"""

import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

SIZE = 8192  # of the matrices: one product is 1.1 TFLOP, 1 to 2 ms on an H100
# Bounds of a duty cycle in seconds; each is drawn anew. The driver looks every 200 ms at who runs and gives the whole sample to that
# process: a load that keeps time with it is seen too often or never (with cycles of exactly 100 ms, 39 % instead of 19 %).
PERIOD = (0.03, 0.3)


# --- load ---


def worker():
    """`go SECONDS DUTY` on stdin: that much load for so long; answers `done PRODUCTS BUSY_SECONDS`. All workers multiply the same
    matrices, so their numbers of products are their use of the GPU, whoever else was on it."""
    try:
        import torch

        a = torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16)
        b = torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16)
        out = torch.empty_like(a)

        def product():
            for _ in range(4):
                torch.mm(a, b, out=out)
            torch.cuda.synchronize()

        product()
    except ImportError:
        print("no torch: a rehearsal without load", file=sys.stderr)

        def product():
            time.sleep(0.005)

    draw = random.Random(1)
    print("ready", flush=True)
    for line in sys.stdin:
        _, seconds, duty = line.split()
        end, products, busy = time.monotonic() + float(seconds), 0, 0.0
        while (begin := time.monotonic()) < end:
            period = draw.uniform(*PERIOD)
            while time.monotonic() - begin < period * float(duty):
                product()
                products += 4
            busy += time.monotonic() - begin
            if float(duty) < 1:
                time.sleep(max(0.0, begin + period - time.monotonic()))
        print("done", products, round(busy, 3), flush=True)


class Worker:
    def __init__(self):
        command = [sys.executable, os.path.abspath(__file__), "worker"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def hear(self):
        return self.process.stdout.readline().split()

    def go(self, seconds, duty):
        self.process.stdin.write(f"go {seconds} {duty}\n")
        self.process.stdin.flush()

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


# --- the library ---


def call(function, *arguments):
    """The answer, or the name of the error."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 every error is an answer here
        return f"{type(error).__name__}: {error}"


def plain(value):
    """As JSON has it."""
    if isinstance(value, (str, int, float, type(None))):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    fields = getattr(value, "_fields_", None)
    if fields:
        return {name: plain(getattr(value, name)) for name, *_ in fields}
    return plain(vars(value)) if hasattr(value, "__dict__") and vars(value) else str(value)


def cost(function, *arguments):
    """Median and highest microseconds of a call."""
    times = []
    for _ in range(15):
        begin = time.perf_counter_ns()
        call(function, *arguments)
        times.append((time.perf_counter_ns() - begin) / 1000)
    return [round(statistics.median(times), 1), round(max(times), 1)]


def steps(function, seconds):
    """How often a value changes: (changes, median milliseconds between them, median step)."""
    end, last, moments, sizes = time.monotonic() + seconds, call(function), [], []
    if isinstance(last, str):
        return last
    while time.monotonic() < end:
        value = call(function)
        if value != last:
            moments.append(time.monotonic())
            sizes.append(value - last)
            last = value
        time.sleep(0.0005)
    gaps = [round((b - a) * 1000, 1) for a, b in zip(moments, moments[1:])]
    if not gaps:
        return "no change"
    return {"changes": len(moments), "median_ms": statistics.median(gaps), "median_step": statistics.median(sizes)}


def samples(nvml, gpu, since):
    """Utilisation by process as the driver gives it, or the error."""
    rows = call(nvml.nvmlDeviceGetProcessUtilization, gpu, since)
    if isinstance(rows, str):
        return rows
    return [[r.pid, r.timeStamp, r.smUtil, r.memUtil, r.encUtil, r.decUtil] for r in rows]


def device_samples(nvml, gpu, since):
    rows = call(nvml.nvmlDeviceGetSamples, gpu, nvml.NVML_GPU_UTILIZATION_SAMPLES, since)
    if isinstance(rows, str):
        return rows
    return [[r.timeStamp, r.sampleValue.uiVal] for r in rows[1]]


def clocks():
    return {
        "realtime_us": time.time_ns() // 1000,
        "monotonic_us": time.monotonic_ns() // 1000,
        "boottime_us": time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000,
    }


def facts(nvml, gpu):
    """What the library says without any load, and what each call costs."""
    calls = {
        "count": (nvml.nvmlDeviceGetCount,),
        "handle by index": (nvml.nvmlDeviceGetHandleByIndex, 0),
        "uuid": (nvml.nvmlDeviceGetUUID, gpu),
        "energy": (nvml.nvmlDeviceGetTotalEnergyConsumption, gpu),
        "energy as a field": (nvml.nvmlDeviceGetFieldValues, gpu, [nvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION]),
        "power": (nvml.nvmlDeviceGetPowerUsage, gpu),
        "limits": (nvml.nvmlDeviceGetPowerManagementLimitConstraints, gpu),
        "utilisation": (nvml.nvmlDeviceGetUtilizationRates, gpu),
        "device samples, since 0": (nvml.nvmlDeviceGetSamples, gpu, nvml.NVML_GPU_UTILIZATION_SAMPLES, 0),
        "device samples, since 2^62": (nvml.nvmlDeviceGetSamples, gpu, nvml.NVML_GPU_UTILIZATION_SAMPLES, 1 << 62),
        "use by process, since 0": (nvml.nvmlDeviceGetProcessUtilization, gpu, 0),
        "use by process, since 2^62": (nvml.nvmlDeviceGetProcessUtilization, gpu, 1 << 62),
        "compute processes": (nvml.nvmlDeviceGetComputeRunningProcesses, gpu),
        "graphics processes": (nvml.nvmlDeviceGetGraphicsRunningProcesses, gpu),
        "MPS processes": (nvml.nvmlDeviceGetMPSComputeRunningProcesses, gpu),
        "MIG mode": (nvml.nvmlDeviceGetMigMode, gpu),
        "most MIG devices": (nvml.nvmlDeviceGetMaxMigDeviceCount, gpu),
        "MIG device 0": (nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, 0),
        "attributes of the whole": (nvml.nvmlDeviceGetAttributes, gpu),
        "instance id of the whole": (nvml.nvmlDeviceGetGpuInstanceId, gpu),
        "is a MIG handle": (nvml.nvmlDeviceIsMigDeviceHandle, gpu),
        "virtualisation": (nvml.nvmlDeviceGetVirtualizationMode, gpu),
        "accounting": (nvml.nvmlDeviceGetAccountingMode, gpu),
        "persistence": (nvml.nvmlDeviceGetPersistenceMode, gpu),
        "GPM": (nvml.nvmlGpmQueryDeviceSupport, gpu),
        "GPU 99": (nvml.nvmlDeviceGetHandleByIndex, 99),
        "uuid of nobody": (nvml.nvmlDeviceGetHandleByUUID, "GPU-00000000-0000-0000-0000-000000000000"),
    }
    folder = "/proc/driver/nvidia/gpus"
    return {
        "driver": plain(call(nvml.nvmlSystemGetDriverVersion)),
        "nvml": plain(call(nvml.nvmlSystemGetNVMLVersion)),
        "name": plain(call(nvml.nvmlDeviceGetName, gpu)),
        folder: sorted(os.listdir(folder)) if os.path.isdir(folder) else "not there",
        "clocks": clocks(),
        "answers": {name: str(plain(call(*it)))[:300] for name, it in calls.items()},
        "us (median, highest)": {name: cost(*it) for name, it in calls.items()},
        "energy counter": steps(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu), 2),
        "power": steps(lambda: nvml.nvmlDeviceGetPowerUsage(gpu), 2),
        "device samples": str(device_samples(nvml, gpu, 0))[:400],
    }


# --- the daemon ---


class Daemon:
    def __init__(self, kepler, folder, config=None):
        self.log = open(os.path.join(folder, "kepler.log"), "a")
        settings = ["sources.gpu=nvml", "sources.platform=", "exporter.processes.max=1000"]
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        command = [kepler, "--listen", self.address, "--tick", os.environ.get("TICK", "1s"), "--log-level", "debug"]
        library = os.environ.get("NVML_LIBRARY")
        if library:
            settings += [f"sources.nvml.library={library}"]
        if config:
            command += ["--config", config]  # it says what the settings say, so that a reload can change it
            settings = []
        for setting in settings:
            command += ["--set", setting]
        self.process = subprocess.Popen(command, stderr=self.log, stdout=self.log)

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=5) as answer:
            return answer.read().decode()

    def snapshot(self):
        return json.loads(self.get("/api/v1/snapshot"))

    def wait(self):
        for _ in range(100):
            try:
                if any(zone["component"] == "gpu" for zone in self.snapshot()["zones"]):
                    return
            except OSError:
                pass
            time.sleep(0.1)
        sys.exit("the daemon has no GPU; see kepler.log:\n" + open(self.log.name).read()[-4000:])

    def threads(self):
        """Nanoseconds on a CPU by thread name."""
        spent = {}
        folder = f"/proc/{self.process.pid}/task"
        for task in os.listdir(folder):
            name = open(f"{folder}/{task}/comm").read().strip()
            ran = int(open(f"{folder}/{task}/schedstat").read().split()[0])
            spent[name] = spent.get(name, 0) + ran
        return spent

    def stop(self):
        self.process.terminate()
        return self.process.wait(10)


def figures(snapshot, uuid):
    """Joules of one GPU, by whom, and the moment that they are about."""
    zones = snapshot["zones"]
    index = next(i for i, zone in enumerate(zones) if zone["component"] == "gpu" and zone["place"] == uuid)
    zone = zones[index]
    by_pid = {}
    for row in snapshot["processes"]:
        for charge in row.get("charges", []):
            if charge["zone"] == index:
                used = charge.get("used_ns") or 0
                mine = by_pid.setdefault(row["pid"], {"dynamic": 0.0, "idle": 0.0, "used": 0.0})
                mine["dynamic"] += charge["dynamic_uj"] / 1e6
                mine["idle"] += charge["idle_uj"] / 1e6
                mine["used"] += used / 1e9
    return {
        "tick": snapshot["tick"],
        "joules": (zone["dynamic_uj"] + zone["idle_uj"]) / 1e6,
        "dynamic": zone["dynamic_uj"] / 1e6,
        "idle": zone["idle_uj"] / 1e6,
        "unattributed": zone["unattributed_uj"] / 1e6,
        "processes": by_pid,
    }


class Experiment:
    def __init__(self, nvml, gpu, daemon):
        self.nvml, self.gpu, self.daemon = nvml, gpu, daemon
        uuid = nvml.nvmlDeviceGetUUID(gpu)
        self.uuid = uuid.decode() if isinstance(uuid, bytes) else uuid
        self.phases, self.raw = [], []

    def mark(self):
        """Counter and daemon at the moment of a new snapshot, so that both are about the same time to a few milliseconds."""
        tick = self.daemon.snapshot()["tick"]
        while (snapshot := self.daemon.snapshot())["tick"] == tick:
            time.sleep(0.005)
        millijoules = self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.gpu)
        return time.monotonic(), millijoules / 1e3, figures(snapshot, self.uuid), self.daemon.threads()

    def watch(self, phase, stop):
        """The driver's samples once a second, as they are."""
        since, since_device = 0, 0
        while not stop.wait(1.0):
            rows = samples(self.nvml, self.gpu, since)
            whole = device_samples(self.nvml, self.gpu, since_device)
            rates = plain(call(self.nvml.nvmlDeviceGetUtilizationRates, self.gpu))
            milliwatts = call(self.nvml.nvmlDeviceGetPowerUsage, self.gpu)
            self.raw.append([phase, clocks(), since, rows, rates, milliwatts, whole])
            if isinstance(rows, list) and rows:
                since = max(row[1] for row in rows)
            if isinstance(whole, list) and whole:
                since_device = max(row[0] for row in whole)

    def phase(self, name, seconds, loads, during=None):
        """`loads`: (worker, duty). Marks are set inside the load: three seconds after its begin, one before its end."""
        for worker, duty in loads:
            worker.go(seconds, duty)
        time.sleep(3)
        stop = threading.Event()
        watcher = threading.Thread(target=self.watch, args=(name, stop))
        watcher.start()
        begin = self.mark()
        extra = during() if during else None
        time.sleep(max(0.0, begin[0] + seconds - 5.5 - time.monotonic()))
        end = self.mark()
        stop.set()
        watcher.join()
        done = [[worker.pid, duty, worker.hear()] for worker, duty in loads]
        self.phases.append({"name": name, "begin": begin, "end": end, "done": done, "extra": extra})

    def averaging(self):
        """What a sample is the mean of: the same question with several `since`, and how often new samples come."""
        nvml, gpu, seen = self.nvml, self.gpu, []
        end, last = time.monotonic() + 6, 0
        while time.monotonic() < end:
            rows = samples(nvml, gpu, last)
            if isinstance(rows, list) and rows and (newest := max(row[1] for row in rows)) > last:
                last = newest
                seen.append([clocks(), rows])
            time.sleep(0.02)
        rows = samples(nvml, gpu, 0)
        newest = max(row[1] for row in rows) if isinstance(rows, list) and rows else 0
        backs = [10_000_000, 5_000_000, 2_000_000, 1_000_000, 500_000, 200_000, 1, 0]
        by_since = {back: samples(nvml, gpu, newest - back) for back in backs}
        return {"every 20 ms": seen, "newest": newest, "by how far since lies back, us": by_since}


def table(experiment):
    print("\n| phase | s | counter J | daemon J | difference | W | idle J | dynamic J | unattributed J |")
    print("|---|---|---|---|---|---|---|---|---|")
    for phase in experiment.phases:
        (t0, j0, d0, _), (t1, j1, d1, _) = phase["begin"], phase["end"]
        counter, daemon = j1 - j0, d1["joules"] - d0["joules"]
        part = [f"{d1[key] - d0[key]:.1f}" for key in ("idle", "dynamic", "unattributed")]
        off = f"{(daemon / counter - 1) * 100:+.2f} %" if counter else "-"
        row = [f"{t1 - t0:.1f}", f"{counter:.1f}", f"{daemon:.1f}", off, f"{counter / (t1 - t0):.1f}", *part]
        print(f"| {phase['name']} | {' | '.join(row)} |")
    print("\n| phase | pid | duty asked | products | busy s | use s by the daemon | dynamic J | share | idle J |")
    print("|---|---|---|---|---|---|---|---|---|")
    for phase in experiment.phases:
        before, after = phase["begin"][2], phase["end"][2]
        dynamic = after["dynamic"] - before["dynamic"]
        done = {pid: (duty, words) for pid, duty, words in phase["done"]}
        nothing = {"dynamic": 0.0, "idle": 0.0, "used": 0.0}
        for pid, now in after["processes"].items():
            was = before["processes"].get(pid, nothing)
            got = {key: now[key] - was[key] for key in nothing}
            if not any(got.values()) and pid not in done:
                continue
            duty, words = done.get(pid, ("-", ["", "-", "-"]))
            share = got["dynamic"] / dynamic if dynamic else 0
            row = [pid, duty, words[1], words[2], f"{got['used']:.2f}", f"{got['dynamic']:.1f}"]
            print(f"| {phase['name']} | {' | '.join(map(str, row))} | {share:.3f} | {got['idle']:.1f} |")
    first, last = experiment.phases[0]["begin"], experiment.phases[-1]["end"]
    ticks = last[2]["tick"] - first[2]["tick"]
    print(f"\nall: counter {last[1] - first[1]:.1f} J, daemon {last[2]['joules'] - first[2]['joules']:.1f} J, {ticks} ticks")
    print("CPU microseconds a tick by thread:")
    for name, spent in sorted(last[3].items()):
        print(f"  {name}: {(spent - first[3].get(name, 0)) / 1000 / max(ticks, 1):.1f}")


def raw(experiment):
    print("\nsamples of processes (pid, moment, sm, mem, enc, dec), since the newest one before; device rates; mean of device samples:")
    for phase, _, since, rows, rates, milliwatts, whole in experiment.raw:
        values = [row[1] for row in whole] if isinstance(whole, list) else []
        mean = f"{len(values)} samples, mean {statistics.mean(values):.1f}" if values else whole
        shown = [[r[0], r[1] - since if since else r[1], *r[2:]] for r in rows] if isinstance(rows, list) else rows
        print(f"  {phase}: {shown} {rates} {milliwatts} mW; {mean}")


def main(kepler, folder):
    import pynvml as nvml

    nvml.nvmlInit()
    gpu = nvml.nvmlDeviceGetHandleByIndex(0)
    result = {"facts": facts(nvml, gpu)}
    for name, fact in result["facts"].items():
        if isinstance(fact, dict):
            print(f"{name}:", *(f"  {key}: {value}" for key, value in fact.items()), sep="\n")
        else:
            print(f"{name}: {fact}")
    daemon = Daemon(kepler, folder)
    workers = []
    try:
        daemon.wait()
        experiment = Experiment(nvml, gpu, daemon)
        experiment.phase("idle, no process", 13, [])
        workers = [Worker(), Worker()]
        a, b = workers
        print("workers", a.pid, b.pid, [w.hear() for w in workers], [open(f"/proc/{w.pid}/status").read().split("NSpid:")[1].split("\n")[0] for w in workers])
        print("running by NVML:", plain(call(nvml.nvmlDeviceGetComputeRunningProcesses, gpu)))
        experiment.phase("idle, two contexts", 13, [])
        experiment.phase("A alone", 22, [(a, 1.0)])
        experiment.phase("B alone, 30 %", 28, [(b, 0.3)], experiment.averaging)
        experiment.phase("A and B", 36, [(a, 1.0), (b, 0.3)], experiment.averaging)
        experiment.phase("idle again", 13, [])
        # Written first: what follows only prints.
        result |= {"phases": experiment.phases, "raw": experiment.raw, "metrics": daemon.get("/metrics")}
        with open(os.path.join(folder, "real.json"), "w") as file:
            json.dump(result, file, default=str)
        table(experiment)
        for phase in experiment.phases:
            if phase["extra"]:
                extra = phase["extra"]
                periods = [(y[0]["monotonic_us"] - x[0]["monotonic_us"]) // 1000 for x, y in zip(extra["every 20 ms"], extra["every 20 ms"][1:])]
                print(f"\n{phase['name']}: milliseconds between new samples: {periods}")
                lags = [x[0]["realtime_us"] - max(row[1] for row in x[1]) for x in extra["every 20 ms"][-5:]]
                print("  wall clock minus newest moment, us:", lags)
                for back, rows in extra["by how far since lies back, us"].items():
                    print(f"  {back}: {rows}")
        raw(experiment)
        told = [line for line in result["metrics"].splitlines() if "gpu" in line and line[0] != "#" and line[-2:] != " 0"]
        print("\n".join(told))
    finally:
        for worker in workers:
            worker.stop()
        print("kepler's exit code:", daemon.stop())
        print("kepler said:", *[line for line in open(os.path.join(folder, "kepler.log")) if "WARN" in line or "ERROR" in line])


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        worker()
    else:
        main(*sys.argv[1:3])
