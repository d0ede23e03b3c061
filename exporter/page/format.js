// SPDX-License-Identifier: Apache-2.0
// Numbers and text for people. Text of others becomes a text node and never markup.

const fixed = [0, 1, 2, 3, 4].map((digits) =>
  new Intl.NumberFormat('en', { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const shortClock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });

/** Microwatts as watts, without the unit. */
export function watts(uw) {
  if (uw === null || uw === undefined) return '–';
  const w = uw / 1e6;
  if (w > 0 && w < 0.005) return '<0.01';
  return fixed[w >= 1000 ? 0 : w >= 100 ? 1 : 2].format(w);
}

/** Microjoules as watt-hours, with the unit. */
export function energy(uj) {
  const wh = uj / 3.6e9;
  if (wh >= 1000) return `${fixed[3].format(wh / 1000)} kWh`;
  if (wh >= 100) return `${fixed[1].format(wh)} Wh`;
  if (wh >= 0.1 || wh === 0) return `${fixed[2].format(wh)} Wh`;
  if (wh >= 0.00001) return `${fixed[2].format(wh * 1000)} mWh`;
  return '<0.01 mWh';
}

/** Microjoules as kilowatt-hours, with the unit; as watt-hours while these are few. */
export function kwh(uj) {
  const value = uj / 3.6e12;
  if (value < 0.01) return energy(uj);
  return `${fixed[value >= 100 ? 1 : value >= 1 ? 3 : 4].format(value)} kWh`;
}

/** An amount of money or mass: three digits that mean something. */
export function amount(value) {
  if (value !== 0 && Math.abs(value) < 0.0001) return '<0.0001';
  const size = Math.abs(value);
  return fixed[size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.01 ? 3 : 4].format(value);
}

/** Thousandths as a percentage, with its sign. */
export const percent = (permille) => `${fixed[permille < 100 ? 1 : 0].format(permille / 10)} %`;

/** Milliseconds as a length of time. */
export function span(ms) {
  const s = ms / 1000;
  if (s < 1) return `${Math.max(0, Math.round(ms))} ms`;
  if (s < 10) return `${fixed[1].format(s)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  const m = Math.floor(s / 60);
  if (m < 120) return `${m} min`;
  const h = Math.floor(m / 60);
  if (h < 48) return `${h} h ${m % 60} min`;
  return `${Math.floor(h / 24)} d ${h % 24} h`;
}

/** A moment of this browser's clock, in milliseconds. */
export const time = (ms) => clock.format(ms);
export const minute = (ms) => shortClock.format(ms);

const ISOLATED = /[\u202a-\u202e\u2066-\u2069\u200e\u200f]/g;
// Line breaks and what a terminal would obey are shown as what they are: nothing to be seen.
const CONTROLS = /[\u0000-\u001f\u007f-\u009f]/g;

/** A name from outside, so that it stays in its place: without overrides of the direction of writing, and not endless. */
export function tame(text, longest = 300) {
  const plain = String(text ?? '').replace(ISOLATED, '\ufffd').replace(CONTROLS, '\ufffd');
  return plain.length > longest ? `${plain.slice(0, longest)}…` : plain;
}

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children; a child that is no element is text. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === 'class') element.className = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets text only where it changed, so that nothing is selected away and nothing announced twice. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** “estimated ±15 %”, or how else a figure came about. Thousandths; nothing where it was measured. */
export const origin = (error) => (error === null || error === undefined ? 'measured' : `estimated ±${percent(error)}`);
