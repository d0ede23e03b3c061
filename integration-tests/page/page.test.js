// SPDX-License-Identifier: Apache-2.0
// The live page end to end: a real daemon, a real browser, and nothing between them.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { Daemon, Rapl, freePort } from './daemon.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PATIENCE = 30_000;
/** At most fifteen bytes, as the kernel keeps of a name: markup, a quote, and an override of the direction of writing. */
const HOSTILE = '<i>"\u202Efdp.x';

let browser; let rapl; let daemon; let guessing; let hostile; let folder;

before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  rapl = new Rapl();
  folder = mkdtempSync(join(tmpdir(), 'kepler-page-name-'));
  copyFileSync('/bin/bash', join(folder, HOSTILE));
  hostile = spawn(join(folder, HOSTILE), ['-c', 'while :; do :; done'], { stdio: 'ignore' });
  daemon = await new Daemon(await freePort(), ['sources.cpu=rapl', 'sources.dram=rapl', 'sources.platform=', `sources.rapl.root=${rapl.root}`]).start();
  guessing = await new Daemon(await freePort(), ['sources.cpu=estimator', 'sources.dram=estimator', 'sources.platform=estimator',
    'exporter.page.price_per_kwh=0.31', 'exporter.page.currency=EUR', 'exporter.page.grams_co2e_per_kwh=380']).start();
});

after(async () => {
  hostile?.kill('SIGKILL');
  await Promise.all([daemon?.stop(), guessing?.stop(), browser?.close()]);
  rapl?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** A page that must ask no other host, and complain about nothing but what `forgives`. */
async function open(t, { url = daemon.url, forgives = () => false, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: 'light', reducedMotion: 'reduce', ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const [elsewhere, complaints] = [[], []];
  page.on('request', (request) => { if (new URL(request.url()).host !== new URL(url).host) elsewhere.push(request.url()); });
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()); });
  page.on('pageerror', (error) => complaints.push(String(error)));
  t.after(async () => {
    await context.close();
    assert.deepEqual(elsewhere, [], 'asked another host');
    assert.deepEqual(complaints.filter((one) => !forgives(one)), [], 'complained');
  });
  await page.goto(url);
  await live(page);
  return page;
}

const live = (page) => page.waitForFunction(() => document.body.dataset.state === 'live' && document.querySelectorAll('#table tbody tr').length > 0);
const level = (page, name) => page.locator(`#levels input[value=${name}]`).check({ force: true });

/** The processes of the daemon's own snapshot have a row each, so that this level is never empty. */
async function processes(page) {
  await level(page, 'process');
  await page.waitForFunction(() => [...document.querySelectorAll('#table tbody .note')].some((note) => note.textContent.includes('pid ')));
}

async function violations(page) {
  await page.evaluate(axe);
  const result = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  return result.violations.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.target} ${node.failureSummary}`).join('; ')}`);
}

test('the page loads, and its power is what the meter counts', async (t) => {
  const page = await open(t);
  await page.waitForFunction(() => { const power = Number(document.querySelector('#power').textContent); return power > 15 && power < 60; });
  assert.equal(await page.locator('#power-tag').textContent(), 'measured');
  const rows = await page.locator('#components tbody tr').allInnerTexts();
  assert.ok(rows.some((row) => /CPU package/.test(row)) && rows.some((row) => /Memory/.test(row)), rows.join('\n'));
  assert.match(await page.title(), /^[\d.]+ W · Kepler$/);
  assert.match(await page.locator('#zones').innerText(), /rapl-sysfs[\s\S]*works[\s\S]*counted/);
  assert.match(await page.locator('#energy').textContent(), /^[\d.]+ [km]?Wh$/);
});

test('figures go on without a reload', async (t) => {
  const page = await open(t);
  const moment = () => page.locator('#past .moment').textContent();
  const first = await moment();
  await page.waitForFunction((before) => document.querySelector('#past .moment').textContent !== before, first);
  const windows = Number((await page.locator('#health-note').textContent()).split(' ')[0]);
  await page.waitForFunction((before) => Number(document.querySelector('#health-note').textContent.split(' ')[0]) > before, windows);
});

test('levels are switched, and say so where they are empty', async (t) => {
  const page = await open(t);
  for (const name of ['process', 'unit', 'container', 'vm', 'pod']) {
    await level(page, name);
    const count = Number(await page.locator(`#count-${name}`).textContent());
    if (count === 0) await page.waitForFunction(() => /There are no/.test(document.querySelector('#table-empty:not([hidden])')?.textContent ?? ''));
    else await page.waitForFunction(() => document.querySelectorAll('#table tbody tr').length > 0);
  }
});

test('the table is sorted by what was asked for, and tells it to who cannot see', async (t) => {
  const page = await open(t);
  await processes(page);
  const sorted = () => page.locator('#table thead [aria-sort]').evaluateAll((cells) => cells.map((cell) => [cell.textContent, cell.getAttribute('aria-sort')]));
  assert.deepEqual(await sorted(), [['Power', 'descending']]);
  await page.locator('#table thead button', { hasText: 'Name' }).click();
  assert.deepEqual(await sorted(), [['Name', 'ascending']]);
  const names = () => page.locator('#table tbody .open').allTextContents();
  const up = await names();
  assert.deepEqual(up, [...up].sort((one, other) => one.localeCompare(other)));
  await page.locator('#table thead button', { hasText: 'Name' }).press('Enter');
  assert.deepEqual(await sorted(), [['Name', 'descending']]);
  const down = await names();
  assert.ok(down[0].localeCompare(down.at(-1)) >= 0);
});

test('search and filter leave what matches', async (t) => {
  const page = await open(t);
  await processes(page);
  await page.fill('#search', 'kepler');
  await page.waitForFunction(() => document.querySelectorAll('#table tbody tr').length > 0
    && [...document.querySelectorAll('#table tbody .open')].every((name) => name.textContent.includes('kepler')));
  await page.fill('#search', 'nothing is called this');
  await page.waitForSelector('#table-empty:not([hidden])');
  assert.match(await page.locator('#table-empty').textContent(), /Nothing matches/);
  await page.fill('#search', '');
  await page.selectOption('#group', 'kernel');
  await page.waitForFunction(() => { const notes = [...document.querySelectorAll('#table tbody .note')]; return notes.length > 0 && notes.every((note) => note.textContent.startsWith('kernel')); });
});

test('one workload is opened and closed by keyboard, with its history, and focus comes back', async (t) => {
  const page = await open(t);
  await processes(page);
  await page.fill('#search', 'fdp');
  await page.waitForFunction(() => document.querySelectorAll('#table tbody tr').length === 1);
  await page.locator('#table tbody .open').first().focus();
  await page.keyboard.press('Enter');
  await page.waitForSelector('#workload[open] canvas');
  await page.waitForFunction(() => /^[\d.]+ W$/.test(document.querySelector('#workload .legend .sum .n')?.textContent ?? ''));
  assert.match(await page.evaluate(() => location.hash), /^#process\//);
  await page.keyboard.press('Escape');
  await page.waitForSelector('#workload:not([open])', { state: 'attached' });
  assert.ok(await page.evaluate(() => document.activeElement.classList.contains('open')));
  assert.equal(await page.evaluate(() => location.hash), '');
});

test('an address with a workload opens it', async (t) => {
  const page = await open(t);
  await processes(page);
  const id = await page.locator('#table tbody tr').first().getAttribute('data-id');
  const other = await open(t, { url: `${daemon.url}#process/${id}` });
  await other.waitForSelector('#workload[open]');
  assert.ok((await other.locator('#workload-facts').innerText()).includes(id));
});

test('a name from outside is text, wherever it stands', async (t) => {
  const page = await open(t);
  await processes(page);
  await page.fill('#search', 'fdp');
  const name = page.locator('#table tbody .open').first();
  await name.waitFor();
  // The override is shown as a sign of its own, so that nothing beside it is turned round.
  assert.equal(await name.textContent(), '<i>"\ufffdfdp.x');
  assert.match(await page.locator('#table tbody .c-name .note').first().textContent(), /^user · pid \d+$/);
  await name.click();
  await page.waitForSelector('#workload[open]');
  assert.equal(await page.locator('#workload-title').textContent(), '<i>"\ufffdfdp.x');
  assert.equal(await page.locator('#table i, #workload i').count(), 0);
});

test('names of a megabyte, and markup in every field, leave the page whole', async (t) => {
  const page = await open(t);
  const evil = '<img src=x onerror=globalThis.owned=1><script>globalThis.owned=1</script>\'"\u202e\n';
  const update = JSON.parse(await page.evaluate(() => new Promise((resolve) => {
    const source = new EventSource('api/v1/stream?level=container');
    source.addEventListener('update', (event) => { source.close(); resolve(event.data); });
  })));
  const row = { ...update.rows[0], id: `${evil}1`, name: `${evil}${'m'.repeat(1 << 20)}`, group: evil, detail: evil, ended: false };
  Object.assign(update, { level: 'container', rows_by_level: { pod: 0, container: 5, process: 0, vm: 0, unit: 0 }, rows: [row, { ...row, id: `${evil}2`, group: 'other' }] });
  update.facts.probes = [{ probe: evil, up: false, reason: evil }];
  update.facts.selections = [{ key: evil, chosen: [evil], passed_over: [{ name: evil, reason: evil }] }];
  for (const zone of update.zones) Object.assign(zone, { place: evil, source: evil });
  const bad = await open(t);
  await bad.route('**/api/v1/stream*', (route) => route.fulfill({ contentType: 'text/event-stream', body: `event: update\ndata: ${JSON.stringify(update)}\n\n` }));
  await bad.reload();
  await bad.waitForFunction(() => document.querySelectorAll('#table tbody tr').length === 2);
  assert.ok((await bad.locator('#table tbody .open').first().textContent()).length < 400);
  assert.equal(await bad.evaluate(() => globalThis.owned), undefined);
  assert.equal(await bad.locator('main script, main img, dialog img').count(), 0);
  assert.ok(await bad.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
});

test('a daemon that stops and comes back is noticed both times, without a reload', async (t) => {
  const own = await new Daemon(await freePort(), ['sources.cpu=rapl', 'sources.dram=rapl', 'sources.platform=', `sources.rapl.root=${rapl.root}`]).start();
  t.after(() => own.stop());
  const page = await open(t, { url: own.url, forgives: (one) => /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/.test(one) });
  await page.evaluate(() => { globalThis.same = 'page'; });
  await own.stop();
  await page.waitForFunction(() => document.body.dataset.state === 'lost');
  assert.match(await page.locator('#banner').textContent(), /^Disconnected since \d\d:\d\d:\d\d: the daemon does not answer\. The figures below are of \d\d:\d\d:\d\d\./);
  assert.equal(await page.locator('#pill-text').textContent(), 'Disconnected');
  assert.equal(await page.locator('#banner').getAttribute('role'), 'status');
  assert.deepEqual(await violations(page), []);
  await own.start();
  await live(page);
  await page.waitForSelector('#banner', { state: 'hidden' });
  // The record is the new daemon's, whose slots count from one again.
  await page.waitForFunction(() => Number(document.querySelector('#health-note').textContent.split(' ')[0]) < 1000);
  assert.equal(await page.evaluate(() => globalThis.same), 'page');
});

test('estimates are marked wherever they stand, with their error', async (t) => {
  const page = await open(t, { url: guessing.url });
  await page.waitForFunction(() => /^estimated ±\d/.test(document.querySelector('#power-tag').textContent));
  assert.match(await page.locator('#components tbody tr').first().innerText(), /≈ [\d.]+ W[\s\S]*estimated ±\d/);
  assert.match(await page.locator('#energy').textContent(), /^≈ /);
  assert.match(await page.locator('#table tbody .c-power').first().textContent(), /^(≈ |–)/);
  assert.ok(await page.locator('#past .legend .swatch.hatch').count() > 0);
  assert.match(await page.locator('#zones').innerText(), /estimated[\s\S]*±\d/);
});

test('money and carbon are what the configuration says, and nothing where it says nothing', async (t) => {
  const known = await open(t, { url: guessing.url });
  await known.waitForFunction(() => /EUR$/.test(document.querySelector('#cost').textContent));
  assert.match(await known.locator('#cost-note').textContent(), /^0\.310 EUR per kWh, from the configuration/);
  assert.match(await known.locator('#carbon-note').textContent(), /^380 g per kWh, from the configuration/);
  const unknown = await open(t);
  assert.equal(await unknown.locator('#cost').textContent(), 'not set');
  assert.equal(await unknown.locator('#carbon').textContent(), 'not set');
  await unknown.click('#set-cost');
  await unknown.fill('#price', 'much');
  await unknown.click('#cost-form [type=submit]');
  assert.match(await unknown.locator('#cost-wrong').textContent(), /a number such as 0\.31/);
  await unknown.fill('#price', '0,25');
  await unknown.fill('#currency', 'CHF');
  await unknown.click('#cost-form [type=submit]');
  await unknown.waitForFunction(() => /CHF$/.test(document.querySelector('#cost').textContent));
  await unknown.reload();
  await unknown.waitForFunction(() => /^0\.250 CHF per kWh, set in this browser/.test(document.querySelector('#cost-note').textContent));
});

test('the chart is read by keyboard and as a table', async (t) => {
  const page = await open(t);
  const slider = page.locator('#past [role=slider]');
  await page.waitForFunction(() => Number(document.querySelector('#past [role=slider]').getAttribute('aria-valuemax')) >= 2);
  await slider.focus();
  await page.keyboard.press('Home');
  assert.equal(await slider.getAttribute('aria-valuenow'), '0');
  assert.match(await slider.getAttribute('aria-valuetext'), /^\d\d:\d\d:\d\d: .* W; CPU package, idle/);
  await page.keyboard.press('ArrowRight');
  assert.equal(await slider.getAttribute('aria-valuenow'), '1');
  await page.locator('#past summary').click();
  await page.waitForFunction(() => document.querySelectorAll('#past table tbody tr').length > 0);
  assert.match(await page.locator('#past table thead').innerText(), /Minute[\s\S]*CPU package, dynamic, W/);
});

test('nothing that axe knows of stands in anybody’s way', async (t) => {
  for (const colorScheme of ['light', 'dark']) {
    for (const width of [1280, 360]) {
      const page = await open(t, { colorScheme, viewport: { width, height: 800 } });
      await processes(page);
      assert.deepEqual(await violations(page), [], `${colorScheme}, ${width}`);
      await page.locator('#table tbody .open').first().click();
      await page.waitForSelector('#workload[open] canvas');
      assert.deepEqual(await violations(page), [], `${colorScheme}, ${width}, a workload`);
      await page.keyboard.press('Escape');
      await page.click('#set-cost');
      assert.deepEqual(await violations(page), [], `${colorScheme}, ${width}, the price`);
    }
  }
  const page = await open(t, { url: guessing.url });
  assert.deepEqual(await violations(page), [], 'estimates');
});

test('a phone shows everything without moving the page aside', async (t) => {
  const page = await open(t, { viewport: { width: 360, height: 740 }, hasTouch: true });
  await processes(page);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  const power = await page.locator('#table tbody .c-power').first().boundingBox();
  assert.ok(power.x + power.width <= 360, 'power is on the screen');
});

test('colours follow the system, or what was chosen here', async (t) => {
  const page = await open(t, { colorScheme: 'dark' });
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(await background(), 'rgb(15, 19, 23)');
  await page.locator('input[name=theme][value=light]').check({ force: true });
  assert.equal(await background(), 'rgb(244, 246, 248)');
  await page.reload();
  await live(page);
  assert.equal(await background(), 'rgb(244, 246, 248)');
});

test('a viewer too many is told why, and gets in when there is room', async (t) => {
  const own = await new Daemon(await freePort(), ['sources.cpu=estimator', 'sources.dram=estimator', 'sources.platform=']).start();
  t.after(() => own.stop());
  const held = [];
  for (let place = 0; place < 16; place += 1) {
    const stop = new AbortController();
    held.push(stop);
    assert.equal((await fetch(`${own.url}api/v1/stream`, { signal: stop.signal })).status, 200);
  }
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(own.url);
  await page.waitForFunction(() => /no room for another live viewer/.test(document.querySelector('#banner').textContent));
  for (const stop of held) stop.abort();
  await live(page);
  assert.match(await page.locator('#traffic').textContent(), /^1 of 16 live viewers; [1-9]/);
});

// Pictures for people to look at, and for the README: SCREENSHOTS names a folder.
if (process.env.SCREENSHOTS) {
  test('pictures', async (t) => {
    mkdirSync(process.env.SCREENSHOTS, { recursive: true });
    for (const [name, colorScheme, width] of [['light', 'light', 1280], ['dark', 'dark', 1280], ['phone', 'light', 360]]) {
      const page = await open(t, { colorScheme, viewport: { width, height: 900 } });
      await processes(page);
      await page.waitForFunction((least) => Number(document.querySelector('#past [role=slider]').getAttribute('aria-valuemax')) >= least, Number(process.env.SLOTS ?? 5), { timeout: 900_000 });
      await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`), fullPage: width < 500 });
    }
    const page = await open(t, { url: guessing.url });
    await page.screenshot({ path: join(process.env.SCREENSHOTS, 'estimated.png') });
  });
}
