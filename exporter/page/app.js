// SPDX-License-Identifier: Apache-2.0
// The page: what comes from the daemon goes to the parts that show it. Says clearly when nothing comes any more.

import { Feed, ask } from './api.js';
import { Cost } from './cost.js';
import { byId, put, span, tame, time } from './format.js';
import { Health } from './health.js';
import { Node } from './node.js';
import { Clock, Record } from './record.js';
import { Workload } from './workload.js';
import { LEVELS, Workloads } from './workloads.js';

const clock = new Clock();
const record = new Record();
const parts = { node: new Node(record, clock), cost: new Cost(clock), health: new Health() };
let about = null;
let heard = 0;
let filling = false;
/** The newest update. An older one may wait for an answer while it comes, and is not to be drawn over it. */
let latest = null;

const [, wantedLevel, wantedId] = /^#([a-z]+)\/(.+)$/.exec(location.hash) ?? [];
const levels = LEVELS.map((level) => level.key);
let level = levels.includes(wantedLevel) ? wantedLevel : null;
let wanted = level ? decodeURIComponent(wantedId) : null;

const workload = new Workload(clock, record);
const workloads = new Workloads(level ?? 'container', (chosen) => { level = chosen; feed.level = chosen; },
  (id) => workload.open(workloads.level, id, workloads.find(id)));

put(byId('host'), location.host);

async function learn() {
  const answer = await ask('api/v1/about');
  if (!answer) return;
  const other = about && (about.version !== answer.version || about.revision !== answer.revision);
  about = answer;
  parts.cost.about = answer;
  put(byId('version'), `${answer.version} (${tame(answer.revision)})`);
  if (other) banner('The daemon is another version now. Reload the page to have its own.');
}

/** All slots that the daemon knows, where updates alone would leave a gap. */
async function fill() {
  if (filling) return;
  filling = true;
  const answer = await ask('api/v1/history');
  filling = false;
  if (!answer) return;
  clock.hear(answer.now_ms);
  if (answer.began_ms !== record.began) record.clear(answer.began_ms);
  record.merge(answer.slots);
}

async function told(update) {
  heard = Date.now();
  latest = update;
  clock.hear(update.now_ms);
  if (!record.continues(update)) {
    // Another daemon, or the same one begun anew.
    record.clear(update.began_ms);
    learn();
  }
  const gap = !record.reaches(update.slots);
  if (gap && update.slot > 1) await fill();
  record.merge(update.slots);
  if (latest !== update) return;
  // First sight: pods where there are some, else containers, of which two are the host's own, else processes.
  if (level === null) {
    const { pod, container } = update.rows_by_level;
    level = pod > 0 ? 'pod' : container > 2 ? 'container' : 'process';
    if (level !== update.level) workloads.choose(level);
  }
  const here = update.components.filter((one) => one.in_total && one.power).map((one) => one.component);
  record.known = record.settled(here).at(-1)?.number ?? null;
  for (const part of Object.values(parts)) part.show(update);
  workloads.show(update);
  if (update.level === workloads.level) {
    if (wanted !== null) {
      workload.open(workloads.level, wanted, workloads.find(wanted));
      wanted = null;
    } else if (workload.id !== null) workload.show(workloads.find(workload.id));
  }
  const { viewers, most_viewers, refused, skipped } = update.traffic;
  put(byId('traffic'), `${viewers} of ${most_viewers} live viewers; ${refused} turned away, ${skipped} updates skipped for slow ones`);
  state();
}

function banner(text) {
  const element = byId('banner');
  element.hidden = !text;
  put(element, text);
}

/** The pill says how things are; the banner only what somebody should know who is not looking at it. */
function state() {
  const now = Date.now();
  const quiet = heard ? now - heard : 0;
  const longest = Math.max(5_000, 3 * (about?.slot_ms ?? 1_000));
  let [shown, word] = [feed.state, ''];
  if (feed.state === 'connecting') word = 'Connecting';
  else if (feed.state === 'live' && !heard) [shown, word] = ['waiting', 'Waiting for the first window'];
  else if (feed.state === 'live' && quiet > longest) [shown, word] = ['old', `No new window for ${span(quiet)}`];
  else if (feed.state === 'live') word = 'Live';
  else word = 'Disconnected';
  document.body.dataset.state = shown;
  put(byId('pill-text'), word);
  const last = heard ? ` The figures below are of ${time(heard)}.` : '';
  if (shown === 'lost') banner(`Disconnected since ${time(feed.since)}: the daemon does not answer.${last} Trying again.`);
  else if (shown === 'refused') banner(`Not live since ${time(feed.since)}: the daemon answers, but has no room for another live viewer.${last} Trying again.`);
  else if (shown === 'old') banner(`The daemon answers, but no window has closed since ${time(heard)}.`);
  else if (/^(Disconnected|Not live|The daemon answers)/.test(byId('banner').textContent)) banner('');
}

const feed = new Feed(level ?? 'container', told, (became) => {
  if (became === 'live') learn();
  state();
});
setInterval(state, 1_000);
state();
