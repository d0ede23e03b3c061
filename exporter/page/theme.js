// SPDX-License-Identifier: Apache-2.0
// Which colours: the system's, or what was chosen here. Runs before anything is painted, so that nothing flashes.
(() => {
  const key = 'kepler-theme';
  const read = () => { try { return localStorage.getItem(key); } catch { return null; } };
  const write = (value) => { try { localStorage.setItem(key, value); } catch { /* this time only */ } };
  const show = (value) => {
    document.documentElement.dataset.theme = value;
    // Charts are painted, and have to be told.
    document.dispatchEvent(new Event('kepler-theme'));
  };
  const chosen = ['auto', 'light', 'dark'].includes(read()) ? read() : 'auto';
  show(chosen);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => show(document.documentElement.dataset.theme));
  document.addEventListener('DOMContentLoaded', () => {
    for (const radio of document.querySelectorAll('input[name=theme]')) {
      radio.checked = radio.value === chosen;
      radio.addEventListener('change', () => { write(radio.value); show(radio.value); });
    }
  });
})();
