// SPDX-License-Identifier: Apache-2.0
// The daemon under the page: a child process over a tree of RAPL files whose counters rise while a test runs.

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PATIENCE = 60_000;
const binary = process.env.DAEMON;
if (!binary) throw new Error('DAEMON names the daemon to test; make test-page sets it');

/** A port that is free now, so that a daemon can come back where it was. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** One package and its memory, as the kernel lays them out, with some 30 and 6 watts. */
export class Rapl {
  root = mkdtempSync(join(tmpdir(), 'kepler-page-'));
  #began = Date.now();
  #timer;

  constructor() {
    for (const [zone, name, range] of [['intel-rapl:0', 'package-0', 262143328850], ['intel-rapl:0:0', 'dram', 65712999613]]) {
      mkdirSync(join(this.root, zone));
      writeFileSync(join(this.root, zone, 'name'), `${name}\n`);
      writeFileSync(join(this.root, zone, 'max_energy_range_uj'), `${range}\n`);
      writeFileSync(join(this.root, zone, 'enabled'), '1\n');
    }
    this.#count();
    this.#timer = setInterval(() => this.#count(), 50);
  }

  #count() {
    const seconds = (Date.now() - this.#began) / 1000;
    // 15 to 45 watts in waves of different lengths, so that the chart shows something: their integral.
    const wave = (watts, length) => watts * length * (1 - Math.cos(seconds / length));
    const joules = { 'intel-rapl:0': 30 * seconds + wave(4, 5) + wave(6, 19) + wave(5, 83), 'intel-rapl:0:0': 6 * seconds + wave(1, 31) };
    for (const [zone, value] of Object.entries(joules)) {
      const file = join(this.root, zone, 'energy_uj');
      // Never half a number.
      writeFileSync(`${file}.new`, `${Math.round(1e6 + value * 1e6)}\n`);
      renameSync(`${file}.new`, file);
    }
  }

  stop() {
    clearInterval(this.#timer);
    rmSync(this.root, { recursive: true, force: true });
  }
}

export class Daemon {
  #child = null;
  log = '';

  constructor(port, settings = []) {
    this.port = port;
    this.settings = settings;
  }

  get url() { return `http://127.0.0.1:${this.port}/`; }

  /** Runs it, and waits until its first window has closed. */
  async start() {
    const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) =>
      !/^(KEPLER_|KUBERNETES_|NODE_NAME$|NODE_IP$|STATE_DIRECTORY$|DAEMON$)/.test(name)));
    const settings = ['state.dir=', 'tick=250ms', ...this.settings].flatMap((setting) => ['--set', setting]);
    this.#child = spawn(binary, ['--listen', `127.0.0.1:${this.port}`, ...settings], { env: environment, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child.stderr.on('data', (data) => { this.log += data; });
    const end = Date.now() + PATIENCE;
    while (Date.now() < end && this.#child.exitCode === null) {
      const ready = await fetch(`${this.url}readyz`).then((answer) => answer.ok, () => false);
      if (ready) return this;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`the daemon does not become ready:\n${this.log}`);
  }

  async stop() {
    const child = this.#child;
    if (!child) return;
    this.#child = null;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    if (child.exitCode === null) {
      child.kill('SIGTERM');
      await ended;
    }
  }
}
