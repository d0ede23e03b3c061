// SPDX-License-Identifier: Apache-2.0
// The table of workloads: one level at a time, sorted, searched and filtered here, refreshed with each update.
//
// Rows keep their elements, so that focus and selection stay; and they keep their order while somebody points at them or
// stands in them, so that nobody opens what has just moved away.

import { byId, el, energy, origin, percent, put, tame, watts } from './format.js';

export const LEVELS = [
  { key: 'pod', many: 'Pods', group: 'Namespace', none: 'There are no pods on this machine.' },
  { key: 'container', many: 'Containers', group: 'Namespace', none: 'There are no containers on this machine.' },
  { key: 'process', many: 'Processes', group: 'Kind', none: 'No process has a row of its own: exporter.processes.max is 0.' },
  { key: 'vm', many: 'VMs', group: 'Hypervisor', none: 'There are no virtual machines on this machine.' },
  { key: 'unit', many: 'Units', group: 'Slice', none: 'There are no systemd units on this machine.' },
];

const COLUMNS = [
  { key: 'name', label: 'Name', first: 1 },
  { key: 'bar', label: 'Share of the largest', plain: true },
  { key: 'power', label: 'Power', first: -1, number: true },
  { key: 'dynamic', label: 'Dynamic', first: -1, number: true },
  { key: 'idle', label: 'Idle', first: -1, number: true },
  { key: 'energy', label: 'Energy', first: -1, number: true },
  { key: 'share', label: 'Of the node', number: true, plain: true },
];

const SHOWN = 50;
const power = (row) => (row.dynamic_uw ?? 0) + (row.idle_uw ?? 0);
const used = (row) => row.dynamic_uj + row.idle_uj;
const VALUES = { power, energy: used, dynamic: (row) => row.dynamic_uw ?? 0, idle: (row) => row.idle_uw ?? 0 };

/** What a row is called, also where nobody named it. */
export function title(row, level) {
  if (row.name) return tame(row.name);
  if (level === 'unit') return '(in no unit)';
  return tame(row.id.length > 16 && level !== 'vm' ? `${row.id.slice(0, 12)}…` : row.id);
}

export class Workloads {
  level; #update = null; #sort = { key: 'power', order: -1 }; #all = false; #rows = new Map(); #held = false;
  #chosen; #opened;
  #body = byId('table').tBodies[0];

  /** `chosen(level)` when another level is wanted, `opened(row)` when a workload is. */
  constructor(level, chosen, opened) {
    this.level = level;
    this.#chosen = chosen;
    this.#opened = opened;
    this.#levels();
    this.#head();
    for (const [id, event] of [['search', 'input'], ['group', 'change'], ['ended', 'change']]) {
      byId(id).addEventListener(event, () => this.#draw(true));
    }
    byId('more').addEventListener('click', () => { this.#all = !this.#all; this.#draw(true); });
    const hold = (held) => () => { this.#held = held; };
    this.#body.addEventListener('pointerenter', hold(true));
    this.#body.addEventListener('pointerleave', hold(false));
  }

  show(update) {
    // An update that was on its way when the level changed is of the level before.
    if (update.level !== this.level) return;
    this.#update = update;
    this.#count();
    this.#groups();
    this.#draw(false);
  }

  find(id) { return this.#update?.rows.find((row) => row.id === id) ?? null; }

  #levels() {
    byId('levels').replaceChildren(...LEVELS.map((level) => {
      const radio = el('input', { type: 'radio', name: 'level', value: level.key });
      radio.checked = level.key === this.level;
      radio.addEventListener('change', () => this.choose(level.key));
      return el('label', {}, radio, el('span', {}, level.many, ' ', el('span', { class: 'count', id: `count-${level.key}` })));
    }));
    put(byId('group-label'), LEVELS.find((level) => level.key === this.level).group);
  }

  choose(level) {
    if (level === this.level) return;
    this.level = level;
    this.#update = null;
    this.#rows.clear();
    this.#body.replaceChildren();
    byId('table').tFoot.replaceChildren();
    byId('group').replaceChildren(el('option', { value: '' }, 'all'));
    byId('search').value = '';
    this.#all = false;
    byId('levels').querySelector(`[value=${level}]`).checked = true;
    put(byId('group-label'), LEVELS.find((one) => one.key === level).group);
    byId('table-empty').hidden = true;
    this.#chosen(level);
  }

  #head() {
    byId('table').tHead.rows[0].replaceChildren(...COLUMNS.map((column) => {
      const label = column.plain ? column.label
        : el('button', { type: 'button', 'data-sort': column.key }, column.label, el('span', { class: 'arrow', 'aria-hidden': 'true' }));
      const cell = el('th', { scope: 'col', class: `${column.number ? 'n ' : ''}c-${column.key}` }, label);
      if (!column.plain) label.addEventListener('click', () => this.#sortBy(column));
      return cell;
    }));
    this.#arrows();
  }

  #sortBy(column) {
    this.#sort = this.#sort.key === column.key
      ? { key: column.key, order: -this.#sort.order } : { key: column.key, order: column.first };
    this.#arrows();
    this.#draw(true);
  }

  #arrows() {
    COLUMNS.forEach((column, index) => {
      const cell = byId('table').tHead.rows[0].cells[index];
      if (column.key === this.#sort.key) cell.setAttribute('aria-sort', this.#sort.order > 0 ? 'ascending' : 'descending');
      else cell.removeAttribute('aria-sort');
    });
  }

  #count() {
    for (const level of LEVELS) put(byId(`count-${level.key}`), String(this.#update.rows_by_level[level.key] ?? 0));
  }

  #groups() {
    const select = byId('group');
    const groups = [...new Set(this.#update.rows.map((row) => row.group).filter(Boolean))].sort();
    byId('group-field').hidden = groups.length < 2 && select.value === '';
    const shown = [...select.options].slice(1).map((option) => option.value);
    if (groups.join('\n') === shown.join('\n')) return;
    const chosen = select.value;
    if (chosen && !groups.includes(chosen)) groups.push(chosen);
    select.replaceChildren(el('option', { value: '' }, 'all'), ...groups.map((group) => el('option', { value: group }, tame(group))));
    select.value = chosen;
  }

  #matching() {
    const words = byId('search').value.toLowerCase().split(/\s+/).filter(Boolean);
    const [group, ended] = [byId('group').value, byId('ended').checked];
    const text = (row) => `${row.name}\n${row.id}\n${row.group}\n${row.detail}`.toLowerCase();
    return this.#update.rows.filter((row) => (ended || !row.ended) && (!group || row.group === group)
      && (words.length === 0 || words.every((word) => text(row).includes(word))));
  }

  #ordered(rows) {
    const { key, order } = this.#sort;
    if (key === 'name') return rows.sort((one, other) => order * title(one, this.level).localeCompare(title(other, this.level)) || one.id.localeCompare(other.id));
    const value = VALUES[key];
    return rows.sort((one, other) => order * (value(one) - value(other)) || used(other) - used(one) || one.id.localeCompare(other.id));
  }

  #draw(asked) {
    if (!this.#update) return;
    const matching = this.#matching();
    let rows = this.#ordered(matching);
    const held = !asked && (this.#held || this.#body.contains(document.activeElement));
    if (held) rows = this.#asBefore(rows);
    const shown = this.#all ? rows : rows.slice(0, SHOWN);
    const largest = Math.max(1, ...shown.map(power));
    const node = this.#update.node;
    const whole = node.dynamic_uw === null ? 0 : node.dynamic_uw + node.idle_uw;
    const elements = shown.map((row) => this.#row(row, largest, whole));
    const now = new Set(elements);
    for (const [id, element] of this.#rows) if (!now.has(element)) { element.remove(); this.#rows.delete(id); }
    // Moved only where the order is another: to move an element takes its focus away.
    elements.forEach((element, index) => {
      if (this.#body.children[index] !== element) this.#body.insertBefore(element, this.#body.children[index] ?? null);
    });
    this.#foot(matching, whole);
    this.#words(matching, rows.length, held);
  }

  /** The order that is on the screen; who is new comes at its end. */
  #asBefore(rows) {
    const places = new Map([...this.#body.children].map((element, index) => [element.dataset.id, index]));
    const place = (row) => places.get(row.id) ?? Infinity;
    return rows.sort((one, other) => (place(one) === place(other) ? 0 : place(one) - place(other)));
  }

  #row(row, largest, whole) {
    let element = this.#rows.get(row.id);
    if (!element) {
      element = this.#make(row);
      this.#rows.set(row.id, element);
    }
    const estimated = row.estimated_permille >= 500;
    const sign = estimated ? '≈ ' : '';
    element.classList.toggle('ended', row.ended);
    const [name, bar, ...numbers] = element.cells;
    put(name.firstElementChild, title(row, this.level));
    put(name.lastElementChild, [row.group, row.detail, row.ended ? 'ended' : ''].filter(Boolean).map((text) => tame(text)).join(' · '));
    const [idle, dynamic] = bar.firstElementChild.children;
    const [ofIdle, ofAll] = [row.idle_uw ?? 0, power(row)].map((part) => 100 * part / largest);
    idle.style.width = `${ofIdle}%`;
    dynamic.style.width = `${ofAll - ofIdle}%`;
    element.style.setProperty('--of-idle', `${ofIdle}%`);
    element.style.setProperty('--of-all', `${ofAll}%`);
    bar.firstElementChild.classList.toggle('estimated', estimated);
    const unknown = row.dynamic_uw === null;
    const texts = [unknown ? '–' : `${sign}${watts(power(row))} W`, unknown ? '–' : `${watts(row.dynamic_uw)} W`,
      unknown ? '–' : `${watts(row.idle_uw)} W`, `${sign}${energy(used(row))}`, whole > 0 && !unknown ? percent(1000 * power(row) / whole) : '–'];
    numbers.forEach((cell, index) => put(cell, texts[index]));
    const words = origin(row.error_permille || null);
    if (numbers[0].title !== words) numbers[0].title = words;
    return element;
  }

  #make(row) {
    const open = el('button', { type: 'button', class: 'open', dir: 'auto' });
    open.addEventListener('click', () => this.#opened(row.id));
    return el('tr', { 'data-id': row.id },
      el('th', { scope: 'row', class: 'c-name' }, open, el('span', { class: 'note', dir: 'auto' })),
      el('td', { class: 'c-bar' }, el('div', { class: 'bar', 'aria-hidden': 'true' }, el('span', { class: 'idle' }), el('span', { class: 'dynamic' }))),
      ...COLUMNS.slice(2).map((column) => el('td', { class: `n c-${column.key}` })));
  }

  /** What is left of the node, so that the table adds up to it. */
  #foot(matching, whole) {
    const { node, others, rows } = this.#update;
    const foot = byId('table').tFoot;
    const all = rows.reduce((sum, row) => sum + power(row), others.dynamic_uw + others.idle_uw);
    const line = (label, note, uw, uj) => el('tr', {}, el('th', { scope: 'row', class: 'c-name' }, label, el('span', { class: 'note' }, note)),
      el('td', { class: 'c-bar' }), el('td', { class: 'n c-power' }, `${watts(uw)} W`), el('td', { class: 'n c-dynamic' }), el('td', { class: 'n c-idle' }),
      el('td', { class: 'n c-energy' }, energy(uj)), el('td', { class: 'n c-share' }, whole > 0 ? percent(Math.min(1000, 1000 * uw / whole)) : '–'));
    const lines = [];
    if (others.rows > 0) lines.push(line(`${others.rows} smaller ones`, 'not listed', others.dynamic_uw + others.idle_uw, others.dynamic_uj + others.idle_uj));
    const sum = matching.reduce((sum, row) => [sum[0] + power(row), sum[1] + used(row)], [0, 0]);
    if (matching.length !== rows.length) lines.push(line(`${matching.length} of ${rows.length} shown`, 'their sum', sum[0], sum[1]));
    const rest = node.dynamic_uj + node.idle_uj - rows.reduce((sum, row) => sum + used(row), others.dynamic_uj + others.idle_uj);
    if (whole > 0) lines.push(line('Rest of the node', 'outside of this level, ended, or charged to nobody', Math.max(0, whole - all), Math.max(0, rest)));
    foot.replaceChildren(...lines);
  }

  #words(matching, count, held) {
    const level = LEVELS.find((one) => one.key === this.level);
    const empty = byId('table-empty');
    empty.hidden = matching.length > 0;
    const hidden = this.#update.rows.length > 0;
    put(empty, hidden ? 'Nothing matches. Clear the search or the filter, or show ended ones.' : level.none);
    byId('table').classList.toggle('hollow', !hidden);
    const more = byId('more');
    more.hidden = count <= SHOWN;
    put(more, this.#all ? `Show the first ${SHOWN}` : `Show all ${count}`);
    put(byId('workloads-note'), `Power: mean of the last seconds${held ? '; order held while you are in the table' : ''}`);
    put(byId('table-caption'), `${level.many} by ${COLUMNS.find((column) => column.key === this.#sort.key).label.toLowerCase()}`);
  }
}
