// The part of a public link's page that takes files in. One request per file, straight from the disk: no form encoding
// that both sides would have to hold, and the browser tells how far it is.

import { randomBytes } from 'node:crypto';

export interface UploadForm {
  readonly html: string;
  /** What the page's Content-Security-Policy must allow for it. */
  readonly policy: string;
}

/** `base`: address under which files are put, without a slash at the end. `shows`: the page lists what is there. */
export function uploadForm(base: string, shows: boolean): UploadForm {
  const nonce = randomBytes(16).toString('base64');
  const html = `<form id="up" data-base="${base}" data-shows="${shows ? '1' : ''}"><label>Add files <input type="file" multiple required></label> <button>Upload</button></form><ul id="done" aria-live="polite"></ul><noscript><p>Uploading from this page needs JavaScript; a WebDAV client works without.</p></noscript><script nonce="${nonce}">${SCRIPT}</script>`;
  return { html, policy: `script-src 'nonce-${nonce}'; connect-src 'self'` };
}

// Names come from the visitor's disk: they are only ever set as text.
const SCRIPT = `
const form = document.getElementById('up'), input = form.querySelector('input'), list = document.getElementById('done');
function send(file, line) {
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    const say = (text) => { line.textContent = file.name + ': ' + text; };
    request.open('PUT', form.dataset.base + '/' + encodeURIComponent(file.name));
    if (form.dataset.shows) request.setRequestHeader('If-None-Match', '*');
    request.setRequestHeader('X-OC-Mtime', String(Math.floor(file.lastModified / 1000)));
    request.upload.onprogress = (event) => say(Math.floor(100 * event.loaded / (event.total || 1)) + ' %');
    request.onerror = () => { say('the connection broke'); done(false); };
    request.onload = () => {
      const ok = request.status >= 200 && request.status < 300;
      say(ok ? 'uploaded' : request.status === 412 || request.status === 403 ? 'not taken; is there a file of this name already?'
        : request.status === 507 ? 'there is no room for it' : 'failed (' + request.status + ')');
      done(ok);
    };
    request.send(file);
  });
}
form.onsubmit = async (event) => {
  event.preventDefault();
  const button = form.querySelector('button');
  button.disabled = true;
  list.textContent = '';
  let all = true;
  for (const file of input.files) {
    const line = list.appendChild(document.createElement('li'));
    all = await send(file, line) && all;
  }
  button.disabled = false;
  form.reset();
  if (all && form.dataset.shows) location.reload();
};`;
