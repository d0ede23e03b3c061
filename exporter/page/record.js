// SPDX-License-Identifier: Apache-2.0
// The last fifteen minutes as this page knows them: slots by number, merged from the history and from updates.

const SPAN = 15 * 60 * 1000;

/** Places moments of the daemon's clock on this browser's. */
export class Clock {
  #offset = null;

  /** An answer that was written at `now` has just come. The quickest answer knows best. */
  hear(now) {
    const offset = Date.now() - now;
    const jumped = this.#offset === null || Math.abs(offset - this.#offset) > 2_000;
    this.#offset = jumped ? offset : Math.min(this.#offset, offset);
  }

  place(moment) { return moment + (this.#offset ?? 0); }
}

export class Record {
  began = null;
  /** Number of the newest slot in which everything is known; null before there is one. */
  known = null;
  #slots = new Map();
  #sorted = null;

  get newest() { return this.slots.at(-1)?.number ?? 0; }

  /** Whether these updates continue what is known; a daemon that began anew counts from one again. */
  continues(update) {
    return this.began === update.began_ms && update.slot >= this.newest;
  }

  /** Whether no slot is missing between what is known and these. */
  reaches(columns) {
    return columns.number.length > 0 && columns.number[0] <= this.newest + 1;
  }

  clear(began) {
    this.began = began;
    this.#slots.clear();
    this.#sorted = null;
  }

  /** A later word about a slot replaces an earlier one: late meters pay for the past. */
  merge(columns) {
    columns.number.forEach((number, index) => {
      const parts = {};
      for (const [component, column] of Object.entries(columns.components ?? {})) {
        const dynamic = column.dynamic_uj[index];
        if (dynamic === null) continue;
        const us = columns.span_us[index] || 1;
        parts[component] = {
          dynamic: dynamic / us * 1e6, idle: column.idle_uj[index] / us * 1e6, error: column.error_permille[index],
        };
      }
      this.#slots.set(number, { number, ended: columns.ended_ms[index], length: columns.span_us[index] / 1000, parts });
    });
    const ended = Math.max(...[...this.#slots.values()].map((slot) => slot.ended));
    for (const [number, slot] of this.#slots) if (slot.ended < ended - SPAN) this.#slots.delete(number);
    this.#sorted = null;
  }

  get slots() {
    this.#sorted ??= [...this.#slots.values()].sort((one, other) => one.number - other.number);
    return this.#sorted;
  }

  /** Slots up to the newest in which each of these components is known; what is younger waits for a slow meter. */
  settled(components) {
    const slots = this.slots;
    let end = slots.length;
    while (end > 0 && !components.every((component) => slots[end - 1].parts[component])) end -= 1;
    return end > 0 ? slots.slice(0, end) : slots;
  }
}
