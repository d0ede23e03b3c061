# SPDX-License-Identifier: Apache-2.0
"""What `run.sh faults` runs: one fault after the other beside a GPU that is busy, and the GPU's own counter beside the daemon's joules."""

import os
import resource
import signal
import sys
import threading
import time

from real import Daemon, Experiment, Worker

CONFIG = """
[sources]
gpu = [{gpu}]
platform = []
[sources.nvml]
library = "{library}"
interval = "{interval}"
[exporter]
processes = {{ max = 1000 }}
"""


class Watch(threading.Thread):
    """Looks at every snapshot that can be had: a zone's joules never fall, and all processes add up to it to the microjoule."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.daemon_, self.wrong, self.looks, self.last, self.over = daemon, [], 0, {}, threading.Event()

    def run(self):
        while not self.over.wait(0.2):
            try:
                snapshot = self.daemon_.snapshot()
            except (OSError, ValueError):
                continue
            self.looks += 1
            for index, zone in enumerate(snapshot["zones"]):
                name, total = (zone["component"], zone["place"]), zone["dynamic_uj"] + zone["idle_uj"]
                if total < self.last.get(name, 0):
                    self.wrong.append(f"{name} fell from {self.last[name]} to {total}")
                self.last[name] = total
                for mode, nobody in (("dynamic_uj", "unattributed_uj"), ("idle_uj", "unreserved_idle_uj")):
                    rows = [*snapshot["processes"], snapshot["other_processes"], snapshot["retired"]["processes"]]
                    paid = sum(c[mode] for row in rows for c in row["charges"] if c["zone"] == index) + zone[nobody]
                    if paid != zone[mode]:
                        self.wrong.append(f"{name}: {mode} of all {paid}, of the zone {zone[mode]}")

    def stop(self):
        self.over.set()
        self.join()


class Trial:
    def __init__(self, nvml, gpu, kepler, folder):
        self.nvml, self.gpu, self.kepler, self.folder = nvml, gpu, kepler, folder
        self.config = os.path.join(folder, "kepler.toml")
        self.write()
        self.begin()
        self.rows = []

    def write(self, gpu='"nvml"', interval="1s"):
        with open(self.config, "w") as file:
            file.write(CONFIG.format(gpu=gpu, interval=interval, library=os.environ.get("NVML_LIBRARY", "")))

    def begin(self):
        self.daemon = Daemon(self.kepler, self.folder, self.config)
        self.daemon.wait()
        self.marks = Experiment(self.nvml, self.gpu, self.daemon)
        time.sleep(3)

    def reload(self, **keys):
        before = self.metric("kepler_config_last_reload_success_timestamp_seconds")
        self.write(**keys)
        self.daemon.process.send_signal(signal.SIGHUP)
        for _ in range(100):
            if self.metric("kepler_config_last_reload_success_timestamp_seconds") > before:
                return
            time.sleep(0.1)
        sys.exit("no reload")

    def metric(self, name):
        """The sum of all series of a name."""
        lines = self.daemon.get("/metrics").splitlines()
        found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + " ", name + "{"))]
        return sum(found)

    def told(self):
        lines = self.daemon.get("/metrics").splitlines()
        names = ("kepler_source_errors_total", "kepler_windows_late_total", "kepler_exporter_connections_closed_total")
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(names)}

    def row(self, what, fault, law):
        """`fault` is done between two marks; `law` says what has to hold of (counter J, daemon J, seconds)."""
        told = self.told()
        t0, j0, d0, _ = self.marks.mark()
        seen = fault()
        time.sleep(4)
        t1, j1, d1, _ = self.marks.mark()
        after = self.told()
        named = [f"`{name}` +{value - told.get(name, 0):.0f}" for name, value in after.items() if value > told.get(name, 0)]
        counter, daemon = j1 - j0, d1["joules"] - d0["joules"]
        holds = law(counter, daemon)
        off = f"{(daemon / counter - 1) * 100:+.2f} %"
        self.rows.append(holds)
        print(f"| {what} | {t1 - t0:.1f} | {counter:.1f} | {daemon:.1f} | {off} | {', '.join(named) or '-'} | {seen or ''} | {'yes' if holds else '**no**'} |", flush=True)


def whole(counter, daemon):
    """Both are read some milliseconds apart, at up to a kilowatt, and the counter has steps of up to 100 ms."""
    return abs(daemon - counter) < max(100.0, counter * 0.01)


def main(kepler, folder):
    import pynvml as nvml

    nvml.nvmlInit()
    gpu = nvml.nvmlDeviceGetHandleByIndex(0)
    name = nvml.nvmlDeviceGetName(gpu)
    print(name if isinstance(name, str) else name.decode(), nvml.nvmlSystemGetDriverVersion(), os.cpu_count(), "CPUs", *os.uname()[1:3])
    open(os.path.join(folder, "kepler.log"), "w").close()
    trial = Trial(nvml, gpu, kepler, folder)
    workers = [Worker(), Worker()]
    a, b = workers
    print("workers", a.pid, b.pid, [w.hear() for w in workers])
    watch = Watch(trial.daemon)
    watch.start()
    print("\n| what is done | s | counter J | daemon J | difference | named | seen | holds |\n|---|---|---|---|---|---|---|---|")
    a.go(400, 1.0)
    time.sleep(4)
    process = trial.daemon.process
    try:
        trial.row("nothing, 10 s", lambda: time.sleep(6), whole)

        def stop():
            process.send_signal(signal.SIGSTOP)
            time.sleep(float(os.environ.get("STOPPED", "30")))
            process.send_signal(signal.SIGCONT)

        trial.row("SIGSTOP, 30 s, SIGCONT", stop, whole)

        def descriptors():
            before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
            time.sleep(8)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)

        trial.row("no descriptor can be opened, 8 s", descriptors, whole)

        def rarer():
            trial.reload(interval="3s")
            time.sleep(7)
            trial.reload(interval="1s")

        trial.row("reload: `sources.nvml.interval` 1 s, 3 s, 1 s", rarer, whole)

        def user():
            before = trial.marks.mark()[2]["processes"].get(b.pid, {"dynamic": 0.0})["dynamic"]
            b.go(60, 1.0)
            time.sleep(6)
            b.process.send_signal(signal.SIGKILL)
            b.process.wait()
            time.sleep(2)
            ended = sum(c["dynamic_uj"] for r in trial.daemon.snapshot()["processes"] if r["pid"] == b.pid for c in r.get("charges", [])) / 1e6
            return f"the killed has {ended - before:.0f} J more" if ended else "its row is gone; the node has its joules"

        trial.row("a user of the GPU is killed (SIGKILL) at its work", user, whole)

        def away():
            trial.reload(gpu="")
            time.sleep(6)
            trial.reload()
            time.sleep(2)

        trial.row("reload: no GPU source for 6 s", away, lambda counter, daemon: 0 < daemon < counter)
        watch.stop()
        process.kill()
        process.wait()
        begun = time.monotonic()
        trial.begin()
        print(f"killed (SIGKILL); the next has the GPU after {time.monotonic() - begun - 3:.1f} s")
        watch2 = Watch(trial.daemon)
        watch2.start()
        trial.row("the next daemon, 6 s", lambda: time.sleep(6), whole)
        watch2.stop()
        wrong = watch.wrong + watch2.wrong
        print(f"\n{watch.looks + watch2.looks} snapshots; wrong: {wrong[:5] or 'nothing'}")
        print("GPU source up:", trial.metric('kepler_source_up{source="nvml",component="gpu"}'))
        trial.rows.append(not wrong)
    finally:
        for worker in workers:
            worker.process.kill()
        print("exit code:", trial.daemon.stop())
        print("said:", *[line for line in open(os.path.join(folder, "kepler.log")) if any(w in line for w in ("WARN", "ERROR", "panick"))])
        print("probes:", *[line for line in open(os.path.join(folder, "kepler.log")) if "probe" in line][:8])
    sys.exit(0 if all(trial.rows) else 1)


if __name__ == "__main__":
    main(*sys.argv[1:3])
