// Debian's Chromium, without a window and with a profile of its own, as a visitor of a page has it. What a page should not
// do is collected: errors on its console (a refused script or style is one) and requests to anybody but our server.

import { type BrowserContext, chromium, type Page } from 'playwright-core';
import type { Stage } from './stage.js';

export interface Visit {
  readonly page: Page;
  /** Console errors, uncaught errors, dialogs and requests to other places; [] for a page that behaves. */
  readonly complaints: string[];
}

/** A browser that nobody has used yet. */
export async function openBrowser(stage: Stage): Promise<BrowserContext> {
  const profile = stage.folder('browser');
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: '/usr/bin/chromium',
    headless: true,
    acceptDownloads: true,
    env: { ...process.env, HOME: profile } as Record<string, string>,
    args: [
      '--no-sandbox', // Chromium's own does not work for root
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  stage.defer(() => context.close());
  return context;
}

export async function visit(context: BrowserContext, url: string): Promise<Visit> {
  const page = await context.newPage();
  const complaints: string[] = [];
  const { origin } = new URL(url);
  page.on('console', (message) => {
    // The status of an answer (a wrong password, a name that is taken) is told there, too: the page shows it itself.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('dialog', (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== origin) complaints.push(`asked ${request.url()}`);
  });
  await page.goto(url);
  return { page, complaints };
}
