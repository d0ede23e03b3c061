// SPDX-License-Identifier: Apache-2.0
// The daemon: its live updates, and what is asked for once. All addresses are relative, so that a proxy may put the
// page below a path of its own.

/** Silence after which the daemon counts as gone: it says that it lives every ten seconds. */
const SILENCE = 25_000;
/** A stream may end and come again; what is mended within this is not worth a word. */
const GRACE = 2_500;
/** A page that nobody sees lets go of its connection after this. */
const UNSEEN = 60_000;
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 10_000;

/** Answers as JSON; null where there is none. */
export async function ask(path) {
  try {
    const response = await fetch(path, { cache: 'no-store' });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** Live updates of one level. `told(update)` gets each; `changed(state)` whether they come, and why not. */
export class Feed {
  #level; #told; #changed; #source = null; #wait = FIRST_WAIT;
  #retry = 0; #watchdog = 0; #grace = 0; #unseen = 0;
  /** connecting, live, lost or refused. */
  state = 'connecting';
  since = Date.now();

  constructor(level, told, changed) {
    this.#level = level;
    this.#told = told;
    this.#changed = changed;
    document.addEventListener('visibilitychange', () => this.#seen());
    addEventListener('online', () => this.#again());
    addEventListener('pagehide', () => this.#close());
    addEventListener('pageshow', (event) => { if (event.persisted) this.#open(); });
    this.#open();
  }

  set level(level) {
    this.#level = level;
    this.#open();
  }

  #open() {
    this.#close();
    const source = new EventSource(`api/v1/stream?level=${encodeURIComponent(this.#level)}`);
    this.#source = source;
    source.addEventListener('open', () => this.#heard());
    source.addEventListener('alive', () => this.#heard());
    source.addEventListener('update', (event) => {
      this.#heard();
      let update;
      try { update = JSON.parse(event.data); } catch { return; }
      if (update.schema === 1) this.#told(update);
    });
    source.addEventListener('error', () => this.#failed());
    this.#listen();
  }

  #close() {
    clearTimeout(this.#retry);
    clearTimeout(this.#watchdog);
    this.#source?.close();
    this.#source = null;
  }

  #listen() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#failed(), SILENCE);
  }

  #heard() {
    this.#wait = FIRST_WAIT;
    clearTimeout(this.#grace);
    this.#grace = 0;
    this.#listen();
    this.#become('live');
  }

  #failed() {
    this.#close();
    if (!this.#grace && this.state !== 'lost' && this.state !== 'refused') {
      const began = Date.now();
      this.#grace = setTimeout(() => this.#lost(began), GRACE);
    }
    // A little apart, so that not all pages come at once when a daemon is back.
    this.#retry = setTimeout(() => this.#open(), this.#wait * (0.75 + Math.random() / 2));
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
  }

  async #lost(began) {
    this.#grace = 0;
    let answers = false;
    try { answers = (await fetch('livez', { cache: 'no-store' })).ok; } catch { /* that is the answer */ }
    if (this.#source?.readyState !== EventSource.OPEN) this.#become(answers ? 'refused' : 'lost', began);
  }

  #again() {
    if (this.#source?.readyState === EventSource.OPEN) return;
    this.#wait = FIRST_WAIT;
    this.#open();
  }

  #seen() {
    clearTimeout(this.#unseen);
    if (document.hidden) this.#unseen = setTimeout(() => this.#close(), UNSEEN);
    else if (!this.#source) this.#again();
  }

  #become(state, since = Date.now()) {
    if (state === this.state) return;
    this.state = state;
    this.since = since;
    this.#changed(state);
  }
}
