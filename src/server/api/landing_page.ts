// What a browser shows at `/`: what this is and the address to type into a client. No script, nothing loaded.

import { escapeText } from '../../remote/wire/xml.js';

export function landingPage(origin: string): string {
  const drive = `cloudmount mount ${origin} ~/Cloud --user NAME`;
  const dav = `${origin}/remote.php/dav/files/NAME/`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cloudmount</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 12vh auto; padding: 0 1.5rem; }
h1 { font-size: 1.75rem; margin-bottom: 0.25rem; }
dt { font-weight: 600; margin-top: 1.25rem; }
dd { margin: 0.25rem 0 0; }
code { display: inline-block; padding: 0.25rem 0.5rem; border-radius: 0.25rem; background: color-mix(in srgb, currentColor 10%, transparent); overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>cloudmount</h1>
<p>This is a private cloud: files, reachable as a drive and by every WebDAV and Nextcloud client.</p>
<dl>
<dt>As a drive on Linux</dt><dd><code>${escapeText(drive)}</code></dd>
<dt>In a Nextcloud or ownCloud client: server address</dt><dd><code>${escapeText(origin)}</code></dd>
<dt>In a WebDAV client</dt><dd><code>${escapeText(dav)}</code></dd>
</dl>
<p>NAME is your user name; the password is your account's, or an app token.</p>
</body>
</html>
`;
}
