// The way from a request to the user it acts for, and the answers when there is none.

import { errorBody } from '../remote/wire/multistatus.js';
import type { AuthAnswer, Authenticator, Principal } from './auth/authenticator.js';
import { CHALLENGE } from './auth/credentials.js';
import type { RequestContext } from './http_context.js';
import type { Metrics } from './metrics/metrics.js';
import { sendXml } from './respond.js';

export type Admission =
  | { readonly kind: 'user'; readonly principal: Principal }
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'denied' }
  | { readonly kind: 'throttled'; readonly retryAfter_s: number };

const ANONYMOUS: Admission = { kind: 'anonymous' };
const DENIED: Admission = { kind: 'denied' };

export class Guard {
  readonly #authenticator: Authenticator;
  readonly #metrics: Metrics;

  constructor(authenticator: Authenticator, metrics: Metrics) {
    this.#authenticator = authenticator;
    this.#metrics = metrics;
  }

  /** Rejects with `busy_server` under a flood of logins. */
  async admit(context: RequestContext): Promise<Admission> {
    const { authorization } = context.request.headers;
    if (authorization === undefined) return ANONYMOUS;
    return this.#admission(await this.#authenticator.checkHeader(authorization, context));
  }

  /** As `admit`, for who fills in a form. */
  async admitByForm(user: string, secret: string, { address }: RequestContext): Promise<Admission> {
    return this.#admission(await this.#authenticator.check({ kind: 'basic', user, secret }, address));
  }

  #admission(answer: AuthAnswer | null): Admission {
    if (answer === null) return DENIED;
    this.#metrics.login(answer.kind);
    return answer.kind === 'ok' ? { kind: 'user', principal: answer.principal } : answer;
  }
}

/** 401 or 429, in the form DAV clients show to people. */
export function sendRefusal(context: RequestContext, admission: Exclude<Admission, { readonly kind: 'user' }>): void {
  if (admission.kind === 'throttled') {
    sendXml(
      context,
      429,
      errorBody({
        exception: 'OCP\\Security\\Bruteforce\\MaxDelayReached',
        message: `Too many wrong passwords from this address. Try again in ${admission.retryAfter_s} seconds.`,
      }),
      { 'Retry-After': String(admission.retryAfter_s) },
    );
    return;
  }
  sendXml(
    context,
    401,
    errorBody({
      exception: 'Sabre\\DAV\\Exception\\NotAuthenticated',
      message:
        admission.kind === 'anonymous'
          ? 'Log in with user name and password, or with an app token.'
          : 'The user name or the password is wrong, or the account is disabled.',
    }),
    { 'WWW-Authenticate': CHALLENGE },
  );
}
