// SPDX-License-Identifier: Apache-2.0
// Kilowatt-hours, money and carbon so far. Without a price or an intensity nothing is claimed.

import { amount, byId, kwh, origin, put } from './format.js';
import { sinceText } from './node.js';

const KEY = 'kepler-cost';
const UJ_PER_KWH = 3.6e12;

function read() {
  try { return JSON.parse(localStorage.getItem(KEY)); } catch { return null; }
}

function write(own) {
  try {
    if (own) localStorage.setItem(KEY, JSON.stringify(own));
    else localStorage.removeItem(KEY);
  } catch { /* this time only */ }
}

/** A number that is not negative; null for nothing, undefined for what is none. */
function number(text) {
  const plain = text.trim().replace(',', '.');
  if (plain === '') return null;
  return /^\d{1,7}(\.\d{1,6})?$/.test(plain) ? Number(plain) : undefined;
}

export class Cost {
  #about = {}; #own = read(); #update = null; #clock;

  constructor(clock) {
    this.#clock = clock;
    const dialog = byId('cost-dialog');
    byId('set-cost').addEventListener('click', () => { this.#fill(); dialog.showModal(); byId('price').focus(); });
    byId('cost-cancel').addEventListener('click', () => dialog.close());
    byId('cost-reset').addEventListener('click', () => { this.#keep(null); dialog.close(); });
    byId('cost-form').addEventListener('submit', (event) => { if (!this.#save()) event.preventDefault(); });
  }

  set about(about) {
    this.#about = about;
    this.#draw();
  }

  show(update) {
    this.#update = update;
    this.#draw();
  }

  get #rates() {
    const theirs = { price: this.#about.price_per_kwh ?? null, currency: this.#about.currency ?? '', grams: this.#about.grams_co2e_per_kwh ?? null };
    return this.#own ?? theirs;
  }

  #fill() {
    const { price, currency, grams } = this.#rates;
    byId('price').value = price ?? '';
    byId('currency').value = currency ?? '';
    byId('grams').value = grams ?? '';
    put(byId('cost-wrong'), '');
    byId('cost-reset').hidden = !this.#own;
  }

  #save() {
    const [price, grams] = [number(byId('price').value), number(byId('grams').value)];
    for (const [field, value] of [['price', price], ['grams', grams]]) byId(field).setAttribute('aria-invalid', value === undefined);
    if (price === undefined || grams === undefined) {
      put(byId('cost-wrong'), 'Please give a number such as 0.31, or leave the field empty.');
      byId(price === undefined ? 'price' : 'grams').focus();
      return false;
    }
    this.#keep({ price, currency: byId('currency').value.trim().slice(0, 8), grams });
    return true;
  }

  #keep(own) {
    this.#own = own;
    write(own);
    this.#draw();
  }

  #draw() {
    if (!this.#update) return;
    const { node, began_ms, now_ms } = this.#update;
    const used = node.dynamic_uj + node.idle_uj;
    const estimate = node.error_permille === null ? '' : '≈ ';
    const power = node.dynamic_uw === null ? null : (node.dynamic_uw + node.idle_uw) / 1e6;
    put(byId('since'), began_ms === null ? '' : sinceText(this.#clock.place(began_ms), this.#clock.place(now_ms)));
    put(byId('energy'), `${estimate}${kwh(used)}`);
    put(byId('energy-note'), origin(node.error_permille));
    const { price, currency, grams } = this.#rates;
    const whence = this.#own ? 'set in this browser' : 'from the configuration';
    const money = (value) => `${amount(value)}${currency ? ` ${currency}` : ''}`;
    put(byId('cost'), price === null ? 'not set' : `${estimate}${money(used / UJ_PER_KWH * price)}`);
    put(byId('cost-note'), price === null ? 'no price of a kWh is known'
      : `${money(price)} per kWh, ${whence}${power === null ? '' : `; now ${money(power / 1000 * price)} per hour`}`);
    put(byId('carbon'), grams === null ? 'not set' : `${estimate}${mass(used / UJ_PER_KWH * grams)}`);
    put(byId('carbon-note'), grams === null ? 'no grid intensity is known'
      : `${amount(grams)} g per kWh, ${whence}${power === null ? '' : `; now ${mass(power / 1000 * grams)} per hour`}`);
  }
}

const mass = (grams) => grams >= 1000 ? `${amount(grams / 1000)} kg` : `${amount(grams)} g`;
