// SPDX-License-Identifier: Apache-2.0
// Every source and probe: whether it answers, how old its figures are, how they come about, and how wrong they may be.

import { byId, el, percent, put, span, tame, watts } from './format.js';
import { NAMES } from './node.js';

const state = (kind, word) => el('span', { class: `state ${kind}` }, word);
const HOW = { counted: 'counted by a meter', integrated: 'watts of a meter, added up', estimated: 'estimated by a model' };
const FLOORS = { none: 'no idle floor', busy_ratio: 'idle share of time', fixed: 'fixed', model: 'of the model', measured: 'measured', extrapolated: 'extrapolated', typical: 'typical of such servers', restored: 'of an earlier run' };
const OLD_NS = 60e9;
/** Reasons say what to do at their end, and are our own words for the most part. */
const REASON = 2_000;

function zone(account, sources) {
  const source = sources.find((one) => one.source === account.source);
  const errors = source?.errors.reduce((sum, error) => sum + error.count, 0) ?? 0;
  const latest = source?.errors.find((error) => error.zone === `${account.component}/${account.place}`)?.latest ?? source?.errors[0]?.latest;
  const stale = account.age_ns > OLD_NS;
  const sign = !account.up ? state('bad', 'does not answer') : stale ? state('poor', 'old') : account.power_uw === null ? state('poor', 'first reading') : state('good', 'works');
  const floor = account.floor_uw === null ? FLOORS[account.floor_origin] ?? ''
    : `idle floor ${watts(account.floor_uw)} W, ${FLOORS[account.floor_origin] ?? ''}${account.floor_error_permille === null ? '' : ` ±${percent(account.floor_error_permille)}`}`;
  const how = el('span', { class: account.provenance === 'estimated' ? 'tag estimate' : 'tag' }, account.provenance);
  how.title = HOW[account.provenance] ?? '';
  return el('tr', {},
    el('th', { scope: 'row' }, NAMES[account.component] ?? tame(account.component), el('span', { class: 'note', dir: 'auto' }, ` ${tame(account.place)}`)),
    el('td', {}, el('code', {}, tame(account.source)), errors ? el('span', { class: 'note block', dir: 'auto' }, `${errors} errors; ${tame(latest ?? '')}`) : null),
    el('td', {}, sign), el('td', { class: 'n' }, span(account.age_ns / 1e6)),
    el('td', {}, how, el('span', { class: 'note block' }, floor)),
    el('td', { class: 'n' }, account.relative_error_p90_permille === null ? '–' : `±${percent(account.relative_error_p90_permille)}`));
}

/** Sources that were chosen and have no zone yet. */
function silent(facts, zones, sources) {
  return facts.sources.filter((one) => !zones.some((account) => account.source === one.source)).map((one) => {
    const errors = sources.find((account) => account.source === one.source)?.errors ?? [];
    return el('tr', {}, el('th', { scope: 'row' }, one.components.map((component) => NAMES[component] ?? component).join(', ') || '–'),
      el('td', {}, el('code', {}, tame(one.source)), el('span', { class: 'note block', dir: 'auto' }, tame(errors[0]?.latest ?? one.detail))),
      el('td', {}, errors.length ? state('bad', 'errors') : state('poor', 'no reading yet')), el('td', { class: 'n' }, '–'), el('td', {}, '–'), el('td', { class: 'n' }, '–'));
  });
}

export class Health {
  #shown = '';

  show(update) {
    const { zones, sources, facts, windows } = update;
    byId('zones').tBodies[0].replaceChildren(...zones.map((account) => zone(account, sources)), ...silent(facts, zones, sources));
    byId('zones-empty').hidden = zones.length > 0 || facts.sources.length > 0;
    const late = windows.stale.length ? `missing: ${windows.stale.map((text) => tame(text)).join(', ')}` : windows.late_now.length ? `late: ${windows.late_now.map((text) => tame(text)).join(', ')}` : '';
    put(byId('health-note'), [`${windows.closed} windows`, late].filter(Boolean).join('; '));
    // Decisions of the start-up are drawn once, so that a long reason can be selected.
    const shown = JSON.stringify([facts.selections, facts.probes, facts.accounting]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#decisions(facts);
  }

  #decisions(facts) {
    const probe = (one) => el('tr', {}, el('th', { scope: 'row' }, el('code', {}, tame(one.probe))),
      el('td', {}, one.up ? state('good', 'works') : state('off', 'off')), el('td', { dir: 'auto' }, tame(one.reason, REASON) || '–'));
    const accounting = facts.accounting.chosen
      ? [el('tr', {}, el('th', { scope: 'row' }, 'CPU time by ', el('code', {}, tame(facts.accounting.chosen))), el('td', {}, state('good', 'chosen')), el('td', { dir: 'auto' }, tame(facts.accounting.reason, REASON)))] : [];
    byId('probes').tBodies[0].replaceChildren(...accounting, ...facts.probes.map(probe));
    const choice = (key, name, taken, why) => el('tr', {}, el('th', { scope: 'row' }, key), el('td', {}, el('code', {}, tame(name))),
      el('td', {}, taken ? state('good', 'yes') : state('off', 'no')), el('td', { dir: 'auto' }, tame(why, REASON)));
    byId('choices').tBodies[0].replaceChildren(...facts.selections.flatMap((one) => [
      ...one.chosen.map((name) => choice(one.key, name, true, 'the first that works here')),
      ...one.passed_over.map((other) => choice(one.key, other.name, false, other.reason)),
    ]));
  }
}
