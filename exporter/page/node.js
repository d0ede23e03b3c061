// SPDX-License-Identifier: Apache-2.0
// The machine: its power now, by component, and over the last fifteen minutes.

import { Chart } from './chart.js';
import { byId, el, origin, percent, put, span, tame, time, watts } from './format.js';

export const NAMES = { package: 'CPU package', dram: 'Memory', gpu: 'GPU', other: 'Other parts', platform: 'Whole machine', core: 'CPU cores', uncore: 'CPU uncore' };
const PART_OF = { core: 'in CPU package', uncore: 'in CPU package', platform: 'has all of them' };
const STACKED = ['package', 'dram', 'gpu', 'other'];

const sum = (power) => power.dynamic_uw + power.idle_uw;

export class Node {
  #chart = new Chart(byId('past'), 'Power of the node');
  #record; #clock;

  constructor(record, clock) {
    this.#record = record;
    this.#clock = clock;
  }

  show(update) {
    this.#hero(update);
    this.#components(update);
    this.#past(update);
  }

  #hero({ node }) {
    const known = node.dynamic_uw !== null;
    const all = known ? node.dynamic_uw + node.idle_uw : null;
    put(byId('power'), watts(all));
    put(byId('power-split'), known
      ? `${watts(node.dynamic_uw)} W for work, ${watts(node.idle_uw)} W for being on`
      : 'No source has given power yet.');
    const tag = byId('power-tag');
    tag.hidden = !known;
    tag.classList.toggle('estimate', node.error_permille !== null);
    const part = node.estimated_permille < 999 && node.error_permille !== null ? `, ${percent(node.estimated_permille)} of it an estimate` : '';
    put(tag, part ? `±${percent(node.error_permille)}${part}` : origin(node.error_permille));
    document.title = known ? `${watts(all)} W · Kepler` : 'Kepler';
  }

  #components({ components }) {
    const body = byId('components').tBodies[0];
    const whole = components.filter((one) => one.in_total && one.power).reduce((all, one) => all + sum(one.power), 0);
    body.replaceChildren(...components.map((one) => {
      const power = one.power;
      const error = power?.error_permille ?? null;
      const cells = power
        ? [`${error === null ? '' : '≈ '}${watts(sum(power))} W`, `${watts(power.dynamic_uw)} W`, `${watts(power.idle_uw)} W`]
        : ['no reading', '–', '–'];
      const swatch = el('span', { class: `swatch${error === null ? '' : ' hatch'}`, 'aria-hidden': 'true' });
      if (one.in_total) swatch.style.backgroundColor = `var(--c-${one.component})`;
      else swatch.classList.add('none');
      const name = el('th', { scope: 'row' }, swatch, NAMES[one.component] ?? tame(one.component));
      if (PART_OF[one.component]) name.append(el('span', { class: 'note block' }, PART_OF[one.component]));
      return el('tr', { class: one.in_total ? null : 'aside' }, name,
        ...cells.map((cell) => el('td', { class: 'n' }, cell)),
        el('td', {}, power ? el('span', { class: error === null ? 'tag' : 'tag estimate' }, origin(error)) : '–'));
    }));
    byId('stack').replaceChildren(...components.filter((one) => one.in_total && one.power && whole > 0).flatMap((one) =>
      ['idle', 'dynamic'].map((mode) => {
        const part = el('span', { class: one.power.error_permille === null ? null : 'hatch' });
        part.style.width = `${100 * one.power[`${mode}_uw`] / whole}%`;
        part.style.backgroundColor = `var(--c-${one.component}${mode === 'idle' ? '-idle' : ''})`;
        return part;
      })));
  }

  #past({ components, began_ms }) {
    const here = components.filter((one) => one.power).map((one) => one.component);
    const slots = this.#record.settled(here.filter((one) => STACKED.includes(one)));
    const value = (component, mode) => slots.map((slot) => slot.parts[component]?.[mode] ?? null);
    const estimated = (component) => slots.some((slot) => (slot.parts[component]?.error ?? null) !== null);
    const stacked = STACKED.filter((component) => slots.some((slot) => slot.parts[component]));
    const layer = (component, mode) => ({
      key: `${component}-${mode}`, label: `${NAMES[component]}, ${mode}`, estimated: estimated(component),
      colour: `--c-${component}${mode === 'idle' ? '-idle' : ''}`, values: value(component, mode),
    });
    const layers = [...stacked.map((one) => layer(one, 'idle')), ...stacked.map((one) => layer(one, 'dynamic'))];
    const whole = slots.some((slot) => slot.parts.platform)
      ? { label: estimated('platform') ? 'Whole machine (estimated)' : 'Whole machine', estimated: false,
        values: slots.map((slot) => slot.parts.platform ? slot.parts.platform.dynamic + slot.parts.platform.idle : null) }
      : null;
    this.#chart.show(slots.map((slot) => this.#clock.place(slot.ended)), layers, whole);
    const age = slots.length ? this.#clock.place(slots.at(-1).ended) - this.#clock.place(slots[0].ended - slots[0].length) : 0;
    const waits = this.#record.slots.length - slots.length;
    put(byId('past-note'), [age < 14.5 * 60 * 1000 && began_ms !== null ? `${span(age)} so far` : '',
      waits > 0 ? `the newest ${waits} wait for a slow meter` : ''].filter(Boolean).join('; '));
  }
}

export const sinceText = (began, now) => `since ${time(began)}, ${span(now - began)}`;
