// How Nextcloud's apps log in (its developer manual, "Login Flow"): by a page that asks for the account's password, after which
// the device has an app token and never sees the password. Version 2 is for devices that open the page in the user's browser
// and poll; the first one for those that show it themselves and wait to be sent on to `nc://`.

import { RateLimiterMemory } from 'rate-limiter-flexible';
import { isCloudError } from '../../errors.js';
import { escapeAttribute, escapeText } from '../../remote/wire/xml.js';
import type { AccountStore } from '../accounts/account_store.js';
import { LoginFlows } from '../auth/login_flows.js';
import { networkOf } from '../auth/throttle.js';
import { readBody } from '../dav/body.js';
import type { Guard } from '../guard.js';
import type { RequestContext } from '../http_context.js';
import { sendPage } from '../page.js';
import { sendEmpty, sendJson, sendMethodNotAllowed } from '../respond.js';
import { labelOf } from './app_passwords.js';

const FORM_MAX_BYTES = 8 * 1024;
/** Logins begun from one address: an office that sets up all its devices needs some. */
const BEGUN = { points: 100, duration: 300 };
const TOO_LATE = '<p>This page has been used, or is too old. Begin again on your device.</p>';
const NO_STORE = { 'Cache-Control': 'no-store' };

export class LoginFlowApi {
  readonly #accounts: AccountStore;
  readonly #guard: Guard;
  readonly #flows = new LoginFlows();
  readonly #begun = new RateLimiterMemory(BEGUN);

  constructor(accounts: AccountStore, guard: Guard) {
    this.#accounts = accounts;
    this.#guard = guard;
  }

  /** `path` is without `/index.php`. False when it is none of these. */
  async handle(context: RequestContext, path: string): Promise<boolean> {
    const page = /^\/login\/v2\/flow\/([\w-]+)$/.exec(path)?.[1];
    if (path === '/login/v2') await this.#begin(context);
    else if (path === '/login/v2/poll') await this.#poll(context);
    else if (path === '/login/flow') await this.#sendOn(context);
    else if (page !== undefined) await this.#inBrowser(context, page);
    else return false;
    return true;
  }

  async #begin(context: RequestContext): Promise<void> {
    const { request, origin, address } = context;
    if (request.method !== 'POST') {
      sendMethodNotAllowed(context, 'POST');
      return;
    }
    const allowed = await this.#begun.consume(networkOf(address)).then(
      () => true,
      () => false,
    );
    if (!allowed) {
      sendEmpty(context, 429, { 'Retry-After': String(BEGUN.duration) });
      return;
    }
    const { page, poll } = this.#flows.begin(labelOf(request.headers['user-agent']));
    const answer = {
      poll: { token: poll, endpoint: `${origin}/login/v2/poll` },
      login: `${origin}/login/v2/flow/${page}`,
    };
    sendJson(context, 200, answer, NO_STORE);
  }

  async #poll(context: RequestContext): Promise<void> {
    if (context.request.method !== 'POST') {
      sendMethodNotAllowed(context, 'POST');
      return;
    }
    const granted = this.#flows.take((await formOf(context)).get('token') ?? '');
    if (granted === null) {
      sendJson(context, 404, [], NO_STORE);
      return;
    }
    const { user, secret } = granted;
    sendJson(context, 200, { server: context.origin, loginName: user, appPassword: secret }, NO_STORE);
  }

  async #inBrowser(context: RequestContext, page: string): Promise<void> {
    const device = this.#flows.deviceOf(page);
    if (device === null) {
      sendPage(context, 404, 'Too late', TOO_LATE);
      return;
    }
    await this.#ask(context, device, async (user) => {
      const isFirst = await this.#flows.letIn(page, async () => ({ user, secret: await this.#newToken(user, device) }));
      const done = `<p>“${escapeText(device)}” can use your files now. You can close this page.</p>`;
      if (isFirst) sendPage(context, 200, 'Done', done);
      else sendPage(context, 404, 'Too late', TOO_LATE);
    });
  }

  async #sendOn(context: RequestContext): Promise<void> {
    const device = labelOf(context.request.headers['user-agent']);
    await this.#ask(context, device, async (user) => {
      const secret = await this.#newToken(user, device);
      const location = `nc://login/server:${context.origin}&user:${encodeURIComponent(user)}&password:${secret}`;
      sendEmpty(context, 303, { ...NO_STORE, Location: location });
    });
  }

  async #newToken(user: string, device: string): Promise<string> {
    return (await this.#accounts.createToken(user, device)).secret;
  }

  /** GET shows the form, POST is what was filled in: who it is may be let in, which answers the request. */
  async #ask(context: RequestContext, device: string, letIn: (user: string) => Promise<void>): Promise<void> {
    const { method } = context.request;
    if (method === 'GET' || method === 'HEAD') {
      sendForm(context, 200, device);
      return;
    }
    if (method !== 'POST') {
      sendMethodNotAllowed(context, 'GET, HEAD, POST');
      return;
    }
    const form = await formOf(context);
    const user = form.get('user') ?? '';
    const again = (status: number, problem: string) => sendForm(context, status, device, { user, problem });
    const admission = await this.#guard.admitByForm(user, form.get('password') ?? '', context);
    if (admission.kind === 'throttled') {
      context.response.setHeader('Retry-After', String(admission.retryAfter_s));
      again(429, 'There were too many attempts. Try again later.');
    } else if (admission.kind !== 'user') {
      again(403, 'The user name or the password is wrong, or the account is disabled.');
    } else if (admission.principal.via !== 'password') {
      again(403, 'This is an app token. The password of the account is required.');
    } else {
      context.principal = admission.principal;
      await letIn(admission.principal.user.name).catch((error: unknown) => {
        if (!isCloudError(error, 'quota')) throw error;
        again(507, 'This account has as many app tokens as it may have. Have some revoked first.');
      });
    }
  }
}

async function formOf(context: RequestContext): Promise<URLSearchParams> {
  return new URLSearchParams((await readBody(context.request, FORM_MAX_BYTES)).toString('utf8'));
}

function sendForm(
  context: RequestContext,
  status: number,
  device: string,
  { user, problem }: { readonly user: string; readonly problem: string } = { user: '', problem: '' },
): void {
  const alert = problem === '' ? '' : `<p role="alert">${escapeText(problem)}</p>`;
  sendPage(
    context,
    status,
    'Log in',
    `<p>“${escapeText(device)}” asks for all files of an account at ${escapeText(context.origin)}. Go on only if you have just asked for this yourself, on your own device.</p>${alert}` +
      `<form method="post"><p><label>User name<br><input name="user" value="${escapeAttribute(user)}" autocomplete="username" autocapitalize="none" required></label></p>` +
      `<p><label>Password<br><input type="password" name="password" autocomplete="current-password" required></label></p><p><button>Let it in</button></p></form>`,
  );
}
