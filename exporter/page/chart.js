// SPDX-License-Identifier: Apache-2.0
// A stacked chart of power over time: painted by uPlot, read out by a slider, and told as a table.
//
// Estimates are hatched. The chart itself is a picture; who cannot see it moves the slider over it, which says time and
// figures, or opens the table.

import uPlot from './vendor/uPlot.esm.js';
import { el, minute, put, time, watts } from './format.js';

const HEIGHT = 240;
const SHORTEST = 120;
const LONGEST = 15 * 60;
const colours = new Map();
document.addEventListener('kepler-theme', () => colours.clear());

/** What a variable of the style sheet comes to; canvases do not know these. */
function colour(name) {
  if (!colours.has(name)) {
    const probe = el('span', { class: 'hidden' });
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}

function hatched(context, fill) {
  const size = 8 * Math.max(1, Math.round(devicePixelRatio));
  const tile = Object.assign(document.createElement('canvas'), { width: size, height: size });
  const painter = tile.getContext('2d');
  painter.fillStyle = fill;
  painter.fillRect(0, 0, size, size);
  painter.strokeStyle = colour('--hatch');
  painter.lineWidth = size / 6;
  for (const shift of [-size, 0, size]) {
    painter.beginPath();
    painter.moveTo(shift - 1, size + 1);
    painter.lineTo(shift + size + 1, -1);
    painter.stroke();
  }
  return context.createPattern(tile, 'repeat');
}

/**
 * `layers` are from the bottom up: {key, label, colour, estimated, error, values}; `line` is drawn over them and not stacked.
 * `times` are milliseconds of this browser's clock, the ends of the slots.
 */
export class Chart {
  #figure; #plot = null; #shape = ''; #layers = []; #line = null; #times = []; #at = null;
  #box = el('div', { class: 'plot', 'aria-hidden': 'true' });
  #slider = el('div', { class: 'slider', role: 'slider', tabindex: '0', 'aria-valuemin': '0' });
  #legend = el('ul', { class: 'legend' });
  #moment = el('p', { class: 'note moment' });
  #table = el('table', {}, el('caption', { class: 'hidden' }, 'Mean power by minute'), el('thead'), el('tbody'));
  #details;

  constructor(figure, label) {
    this.#figure = figure;
    this.#slider.setAttribute('aria-label', `${label}: a moment, by arrow keys`);
    this.#slider.append(this.#box);
    this.#details = el('details', {}, el('summary', {}, 'As a table'),
      el('div', { class: 'scroll', role: 'region', 'aria-label': `${label} as a table`, tabindex: '0' }, this.#table));
    this.#details.addEventListener('toggle', () => this.#tell());
    figure.replaceChildren(this.#slider, this.#moment, this.#legend, this.#details);
    this.#slider.addEventListener('keydown', (event) => this.#key(event));
    this.#slider.addEventListener('blur', () => this.#move(null));
    document.addEventListener('kepler-theme', () => { this.#shape = ''; this.#draw(); });
    new ResizeObserver(() => this.#fit()).observe(figure);
  }

  show(times, layers, line = null) {
    const chosen = this.#at === null ? null : this.#times[this.#at];
    [this.#times, this.#layers, this.#line] = [times, layers, line];
    // Who looks at a moment goes on looking at it while time passes.
    if (chosen !== null && chosen !== undefined) {
      const found = times.findIndex((moment) => Math.abs(moment - chosen) < 1000);
      this.#at = found < 0 ? null : found;
    }
    this.#draw();
    this.#read();
    this.#tell();
  }

  #draw() {
    if (!this.#figure.isConnected || this.#figure.clientWidth === 0) return;
    const shape = JSON.stringify([this.#layers.map((layer) => [layer.key, layer.estimated]), Boolean(this.#line)]);
    if (shape !== this.#shape) {
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(), this.#data(), this.#box);
      this.#shape = shape;
    } else {
      this.#plot.setData(this.#data());
    }
  }

  #data() {
    const count = this.#times.length;
    const sums = [];
    let below = new Array(count).fill(0);
    for (const layer of this.#layers) {
      below = below.map((sum, index) => {
        const value = layer.values[index];
        // Where nothing at all is known the chart has a gap.
        return this.#known(index) ? (sum ?? 0) + (value ?? 0) / 1e6 : null;
      });
      sums.push(below);
    }
    const line = this.#line ? [this.#line.values.map((value) => value === null ? null : value / 1e6)] : [];
    return [this.#times.map((moment) => moment / 1000), ...sums, ...line];
  }

  #known(index) { return this.#layers.some((layer) => layer.values[index] !== null); }

  #options() {
    const stepped = uPlot.paths.stepped({ align: -1 });
    const fill = (layer) => (plot) => {
      const plain = colour(layer.colour);
      return layer.estimated ? hatched(plot.ctx, plain) : plain;
    };
    const axis = { stroke: () => colour('--muted'), font: '12px system-ui, sans-serif', ticks: { show: false },
      grid: { stroke: () => colour('--line'), width: 1 } };
    const top = this.#layers.length;
    return {
      width: this.#width(), height: HEIGHT, legend: { show: false }, padding: [8, 22, 0, 0],
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: {
        x: { range: (_, from, to) => {
          const end = to ?? Date.now() / 1000;
          return [end - Math.min(LONGEST, Math.max(SHORTEST, end - (from ?? end))), end];
        } },
        y: { range: (_, _from, to) => [0, Math.max(1, (to ?? 0) * 1.08)] },
      },
      axes: [
        { ...axis, grid: { show: false }, space: 70, size: 24,
          values: (plot, splits) => splits.map((split) =>
            (plot.scales.x.max - plot.scales.x.min > 300 ? minute : time)(split * 1000)) },
        { ...axis, size: 56, space: 40, values: (_, splits) => splits.map((split) => `${+split.toFixed(2)} W`) },
      ],
      series: [{}, ...this.#layers.map((layer, index) => ({
        paths: stepped, points: { show: false }, width: index === top - 1 ? 1 : 0.5, spanGaps: false,
        stroke: () => colour(index === top - 1 ? '--muted' : '--surface'), fill: index === 0 ? fill(layer) : undefined,
      })), ...(this.#line ? [{ paths: stepped, points: { show: false }, width: 1.5, dash: [6, 4], stroke: () => colour('--text') }] : [])],
      bands: this.#layers.slice(1).map((layer, index) => ({ series: [index + 2, index + 1], fill: fill(layer) })),
      hooks: { setCursor: [(plot) => { if (!this.#slider.matches(':focus-visible')) { this.#at = plot.cursor.idx ?? null; this.#read(); } }] },
    };
  }

  #width() { return Math.max(200, this.#figure.clientWidth); }

  #fit() {
    if (!this.#plot) this.#draw();
    else if (this.#figure.clientWidth > 0) this.#plot.setSize({ width: this.#width(), height: HEIGHT });
  }

  #key(event) {
    const last = this.#times.length - 1;
    if (last < 0) return;
    const now = this.#at ?? last;
    const places = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1,
      PageDown: now - 60, PageUp: now + 60, Home: 0, End: last, Escape: null };
    if (!(event.key in places)) return;
    if (event.key !== 'Escape') event.preventDefault();
    const place = places[event.key];
    this.#move(place === null ? null : Math.min(last, Math.max(0, place)));
  }

  #move(place) {
    this.#at = place;
    if (this.#plot) {
      const left = place === null ? -10 : this.#plot.valToPos(this.#times[place] / 1000, 'x');
      this.#plot.setCursor({ left, top: place === null ? -10 : 10 }, false);
    }
    this.#read();
  }

  /** Figures of the moment that is looked at, else of the newest. */
  #read() {
    const last = this.#times.length - 1;
    const place = this.#at ?? last;
    const every = [...this.#layers, ...(this.#line ? [this.#line] : [])];
    const sum = this.#layers.reduce((all, layer) => all + (layer.values[place] ?? 0), 0);
    if (this.#legend.childElementCount !== every.length + 1 || this.#legend.dataset.shape !== this.#shape) {
      this.#legend.dataset.shape = this.#shape;
      this.#legend.replaceChildren(...every.map((layer) => this.#entry(layer)), el('li', { class: 'sum' },
        el('span', { class: 'name' }, 'Together'), el('span', { class: 'n' })));
    }
    every.forEach((layer, index) => {
      const value = layer.values[place];
      put(this.#legend.children[index].lastElementChild, value === null || value === undefined ? '–' : `${watts(value)} W`);
    });
    put(this.#legend.lastElementChild.lastElementChild, last < 0 || !this.#known(place) ? '–' : `${watts(sum)} W`);
    put(this.#moment, last < 0 ? 'No slot has ended yet.' : `${this.#at === null ? 'Newest' : 'At'} ${time(this.#times[place])}`);
    this.#slider.setAttribute('aria-valuemax', Math.max(0, last));
    this.#slider.setAttribute('aria-valuenow', Math.max(0, place));
    const parts = every.map((layer, index) => `${layer.label} ${this.#legend.children[index].lastElementChild.textContent}`);
    this.#slider.setAttribute('aria-valuetext', last < 0 ? 'no figures yet' : `${time(this.#times[place])}: ${watts(sum)} W; ${parts.join(', ')}`);
  }

  #entry(layer) {
    const swatch = el('span', { class: `swatch${layer.estimated ? ' hatch' : ''}${layer === this.#line ? ' dash' : ''}`, 'aria-hidden': 'true' });
    if (layer !== this.#line) swatch.style.backgroundColor = `var(${layer.colour})`;
    return el('li', {}, swatch, el('span', { class: 'name' }, layer.label), el('span', { class: 'n' }));
  }

  /** Means by minute, the newest first; only while somebody reads them. */
  #tell() {
    if (!this.#details.open) return;
    const every = [...this.#layers, ...(this.#line ? [this.#line] : [])];
    const minutes = new Map();
    this.#times.forEach((moment, index) => {
      const key = minute(moment);
      if (!minutes.has(key)) minutes.set(key, every.map(() => [0, 0]));
      every.forEach((layer, column) => {
        const value = layer.values[index];
        if (value === null || value === undefined) return;
        minutes.get(key)[column][0] += value;
        minutes.get(key)[column][1] += 1;
      });
    });
    const head = el('tr', {}, el('th', { scope: 'col' }, 'Minute'),
      ...every.map((layer) => el('th', { scope: 'col', class: 'n' }, `${layer.label}, W`)));
    const rows = [...minutes].reverse().map(([key, means]) => el('tr', {}, el('th', { scope: 'row' }, key),
      ...means.map(([sum, count]) => el('td', { class: 'n' }, count ? watts(sum / count) : '–'))));
    this.#table.tHead.replaceChildren(head);
    this.#table.tBodies[0].replaceChildren(...rows);
  }
}
