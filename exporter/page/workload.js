// SPDX-License-Identifier: Apache-2.0
// One workload: its figures, its last fifteen minutes, and who it is.

import { ask } from './api.js';
import { Chart } from './chart.js';
import { byId, el, energy, origin, put, tame, watts } from './format.js';
import { LEVELS, title } from './workloads.js';

/** Asked again this often while it is open. */
const EVERY = 3_000;

export class Workload {
  #level = ''; #id = null; #row = null; #chart = null; #clock; #record; #timer = 0; #round = 0;
  #dialog = byId('workload');

  constructor(clock, record) {
    this.#clock = clock;
    this.#record = record;
    byId('workload-close').addEventListener('click', () => this.#dialog.close());
    this.#dialog.addEventListener('click', (event) => { if (event.target === this.#dialog) this.#dialog.close(); });
    this.#dialog.addEventListener('close', () => {
      clearTimeout(this.#timer);
      this.#id = null;
      if (location.hash) history.replaceState(null, '', location.pathname + location.search);
    });
  }

  get id() { return this.#id; }

  open(level, id, row) {
    [this.#level, this.#id, this.#row] = [level, id, row];
    history.replaceState(null, '', `#${level}/${encodeURIComponent(id)}`);
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#chart ??= new Chart(byId('workload-chart'), 'Power of this workload');
    this.#chart.show([], []);
    byId('workload-empty').hidden = true;
    this.show(row);
    this.#ask();
  }

  show(row) {
    if (this.#id === null) return;
    const level = LEVELS.find((one) => one.key === this.#level);
    if (!row) {
      put(byId('workload-title'), this.#row ? title(this.#row, this.#level) : tame(this.#id));
      put(byId('workload-detail'), 'It is not among the workloads that are listed now: it has ended, or it is a small one.');
      return;
    }
    this.#row = row;
    put(byId('workload-title'), title(row, this.#level));
    put(byId('workload-detail'), [level.many.replace(/s$/, '').replace('Processe', 'Process'), row.group, row.detail, row.ended ? 'ended' : ''].filter(Boolean).map((text) => tame(text)).join(' · '));
    const estimate = origin(row.error_permille || null);
    const power = row.dynamic_uw === null ? '–' : `${watts(row.dynamic_uw + row.idle_uw)} W`;
    const figures = [['Power', power, estimate], ['Dynamic', `${watts(row.dynamic_uw)} W`, 'for its work'], ['Idle', `${watts(row.idle_uw)} W`, 'its share of being on'],
      ['Energy', energy(row.dynamic_uj + row.idle_uj), 'since it has a row']];
    byId('workload-figures').replaceChildren(...figures.map(([name, value, note]) =>
      el('div', {}, el('dt', {}, name), el('dd', {}, value), el('dd', { class: 'note' }, note))));
    byId('workload-facts').replaceChildren(el('dt', {}, 'Id'), el('dd', {}, el('code', { dir: 'auto' }, tame(row.id))));
  }

  async #ask() {
    clearTimeout(this.#timer);
    const round = ++this.#round;
    const answer = await ask(`api/v1/history?level=${this.#level}&id=${encodeURIComponent(this.#id)}`);
    if (this.#id === null || round !== this.#round) return;
    if (answer) this.#draw(answer.slots);
    const empty = byId('workload-empty');
    empty.hidden = Boolean(answer);
    byId('workload-chart').hidden = !answer;
    put(empty, answer ? '' : 'There is no history of this workload: it is kept for the 40 largest of each level, from when they became that.');
    this.#timer = setTimeout(() => this.#ask(), EVERY);
  }

  #draw(slots) {
    // What a slow meter has not paid yet is no fall of power.
    const settled = this.#record.known;
    const keep = slots.number.map((number, index) => index).filter((index) => settled === null || slots.number[index] <= settled);
    const value = (column) => keep.map((index) => slots[column][index] / (slots.span_us[index] || 1) * 1e6);
    const estimated = (this.#row?.estimated_permille ?? 0) >= 500;
    this.#chart.show(keep.map((index) => this.#clock.place(slots.ended_ms[index])), [
      { key: 'idle', label: 'Idle', colour: '--c-workload-idle', estimated, values: value('idle_uj') },
      { key: 'dynamic', label: 'Dynamic', colour: '--c-workload', estimated, values: value('dynamic_uj') },
    ]);
  }
}
