// Which handler answers which URL, and who may ask. Thin: paths in, calls out.

import { CloudError } from '../errors.js';
import { decodeSegment, encodeSegment } from '../names.js';
import { errorBody } from '../remote/wire/multistatus.js';
import { answerAbove, DAV_OPTIONS_HEADERS, sendAboveOptions } from './above_trees.js';
import type { AccountStore } from './accounts/account_store.js';
import { userIdOf } from './accounts/user_name.js';
import { ACTIVITY_PATH, type ActivityApi, activityApi } from './api/activity.js';
import { appPasswords } from './api/app_passwords.js';
import { capabilitiesDocument } from './api/capabilities.js';
import { landingPage } from './api/landing_page.js';
import { type OcsVersion, sendOcs } from './api/ocs.js';
import { SHAREES_PATH, type Sharees } from './api/sharees.js';
import { SHARES_PATH, type ShareApi, sharesApi } from './api/shares.js';
import { statusDocument } from './api/status.js';
import { ocsUser } from './api/user.js';
import type { Principal } from './auth/authenticator.js';
import { CHALLENGE } from './auth/credentials.js';
import { isLoopback } from './client_address.js';
import type { DavHandler } from './dav/handler.js';
import { sendError } from './dav/status.js';
import { type Guard, sendRefusal } from './guard.js';
import type { RequestContext, UserContext } from './http_context.js';
import { type Location, locate } from './locations.js';
import type { Metrics } from './metrics/metrics.js';
import type { PushServer } from './push/push_server.js';
import { sendBody, sendEmpty, sendHtml, sendJson, sendMethodNotAllowed, sendText, sendXml } from './respond.js';
import type { PublicFace } from './sharing/public_face.js';
import type { MetadataStore } from './storage/metadata/metadata_store.js';
import type { UploadHandler } from './uploads/upload_handler.js';

/** What a file or folder takes; which of it a given one does is told to who is logged in. */
const FILE_METHODS = 'OPTIONS, GET, HEAD, PUT, DELETE, PROPFIND, PROPPATCH, MKCOL, COPY, MOVE, LOCK, UNLOCK, REPORT';

export interface RouterServices {
  readonly accounts: AccountStore;
  readonly guard: Guard;
  readonly metadata: MetadataStore;
  readonly dav: DavHandler;
  readonly uploads: UploadHandler;
  readonly push: PushServer;
  readonly metrics: Metrics;
  readonly shares: ShareApi;
  readonly sharees: Sharees;
  readonly publicFace: PublicFace;
  readonly activity: ActivityApi;
}

export class Router {
  readonly #services: RouterServices;

  constructor(services: RouterServices) {
    this.#services = services;
  }

  /** Always answers. Who the request acted for is told through `onPrincipal`, for the access log. */
  async handle(context: RequestContext, onPrincipal: (principal: Principal) => void): Promise<void> {
    try {
      if (await this.#plain(context, onPrincipal)) return;
      if (await this.#services.publicFace.handle(context)) return;
      await this.#tree(context, onPrincipal);
    } catch (error) {
      sendError(context.response, error, context.log);
    }
  }

  /** What is no WebDAV; false = not ours. */
  async #plain(context: RequestContext, onPrincipal: (principal: Principal) => void): Promise<boolean> {
    const { method } = context.request;
    const path = context.path.replace(/^\/index\.php(?=\/)/, '');
    const ocs = /^\/ocs\/v([12])\.php\/(.*)$/.exec(path);
    if (ocs !== null) {
      await this.#ocs(context, ocs[1] === '1' ? 1 : 2, (ocs[2] ?? '').replace(/\/$/, ''), onPrincipal);
      return true;
    }
    switch (path) {
      case '/':
        if (method !== 'GET' && method !== 'HEAD') return false;
        sendHtml(context, 200, landingPage(context.origin));
        return true;
      case '/status.php':
        if (isRead(context)) sendJson(context, 200, statusDocument());
        return true;
      case '/healthz':
        if (isRead(context)) await this.#health(context);
        return true;
      case '/metrics':
        if (isRead(context)) await this.#metrics(context, onPrincipal);
        return true;
      case '/.well-known/webdav':
      case '/.well-known/caldav':
      case '/.well-known/carddav':
        sendEmpty(context, 301, { Location: `${context.origin}/remote.php/dav/` });
        return true;
      case '/apps/notify_push/pre_auth':
        if (method !== 'POST') {
          sendMethodNotAllowed(context, 'POST');
          return true;
        }
        await this.#asUser(context, onPrincipal, async (user) => {
          sendText(user, 200, this.#services.push.preAuth.issue(user.principal), { 'Cache-Control': 'no-store' });
        });
        return true;
      case '/push/ws':
        sendText(context, 426, 'A WebSocket is required here.\n', { Upgrade: 'websocket', Connection: 'Upgrade' });
        return true;
      default:
        return false;
    }
  }

  async #health(context: RequestContext): Promise<void> {
    await this.#services.metadata.read((tx) => tx.head());
    sendJson(context, 200, { status: 'ok' }, { 'Cache-Control': 'no-store' });
  }

  /** For a Prometheus on this machine, or for an administrator. */
  async #metrics(context: RequestContext, onPrincipal: (principal: Principal) => void): Promise<void> {
    const { forwarded, via, 'x-forwarded-for': forwardedFor, 'x-real-ip': realIp } = context.request.headers;
    const proxied = [forwarded, via, forwardedFor, realIp].some((header) => header !== undefined);
    const send = async () => {
      const { type, body } = await this.#services.metrics.text();
      sendBody(context, 200, type, body, { 'Cache-Control': 'no-store' });
    };
    if (isLoopback(context.request.socket.remoteAddress ?? '') && !proxied) {
      await send();
      return;
    }
    await this.#asUser(context, onPrincipal, async (user) => {
      if (!user.principal.user.isAdmin)
        throw new CloudError('no_access', 'metrics: only an administrator may see them');
      await send();
    });
  }

  async #ocs(
    context: RequestContext,
    version: OcsVersion,
    path: string,
    onPrincipal: (principal: Principal) => void,
  ): Promise<void> {
    const admission = await this.#services.guard.admit(context);
    if (admission.kind === 'throttled') {
      sendRefusal(context, admission);
      return;
    }
    if (admission.kind === 'user') onPrincipal(admission.principal);
    const isPublic = path === 'cloud/capabilities' && admission.kind === 'anonymous';
    if (admission.kind !== 'user' && !isPublic) {
      context.response.setHeader('WWW-Authenticate', CHALLENGE);
      sendOcs(context, version, { status: 401, message: 'Log in first', data: [] });
      return;
    }
    if (admission.kind === 'user') {
      const answer = await appPasswords(context, path, admission.principal, this.#services.accounts);
      if (answer !== null) {
        context.response.setHeader('Cache-Control', 'no-store');
        sendOcs(context, version, answer);
        return;
      }
    }
    if (admission.kind === 'user' && SHARES_PATH.test(path)) {
      await this.#sharesOcs(context, version, path, admission.principal);
      return;
    }
    if (context.request.method !== 'GET' && context.request.method !== 'HEAD') {
      sendOcs(context, version, { status: 405, message: 'Only GET is possible here', data: [] });
      return;
    }
    if (admission.kind === 'user' && ACTIVITY_PATH.test(path)) {
      const { user } = admission.principal;
      sendOcs(context, version, await activityApi(context, user, this.#services.activity));
      return;
    }
    if (admission.kind === 'user' && path === SHAREES_PATH) {
      sendOcs(context, version, await this.#services.sharees.answer(context, admission.principal.user));
      return;
    }
    if (path === 'cloud/capabilities') {
      sendOcs(context, version, { status: 200, data: capabilitiesDocument(context.origin) });
      return;
    }
    if (admission.kind === 'user' && /^cloud\/users?(\/[^/]*)?$/.test(path)) {
      const { user } = admission.principal;
      const named = /^cloud\/users\/([^/]+)$/.exec(path)?.[1];
      if (path === 'cloud/user' || (named !== undefined && userIdOf(decodeSegment(named)) === user.id)) {
        sendOcs(context, version, { status: 200, data: await ocsUser(this.#services.metadata, user) });
        return;
      }
    }
    sendOcs(context, version, { status: 404, message: 'There is nothing of this name', data: [] });
  }

  async #sharesOcs(context: RequestContext, version: OcsVersion, path: string, principal: Principal): Promise<void> {
    const { method, headers } = context.request;
    // A page elsewhere cannot send this header: it cannot make a logged-in browser share things.
    if (method !== 'GET' && method !== 'HEAD' && headers['ocs-apirequest'] !== 'true') {
      sendOcs(context, version, { status: 412, message: 'The header OCS-APIRequest: true is required', data: [] });
      return;
    }
    sendOcs(context, version, await sharesApi(context, principal.user, path, this.#services.shares));
  }

  async #tree(context: RequestContext, onPrincipal: (principal: Principal) => void): Promise<void> {
    const location = locate(context.path);
    if (location.kind === 'other') {
      sendNotFound(context);
      return;
    }
    // Clients ask what a server can do before they know that it wants a password; the answer names nothing.
    if (context.request.method === 'OPTIONS' && context.request.headers.authorization === undefined) {
      if (location.kind === 'files') sendEmpty(context, 200, { ...DAV_OPTIONS_HEADERS, Allow: FILE_METHODS });
      else sendAboveOptions(context);
      return;
    }
    await this.#asUser(context, onPrincipal, (user) => this.#inTree(user, location));
  }

  async #inTree(context: UserContext, location: Exclude<Location, { readonly kind: 'other' }>): Promise<void> {
    const { user } = context.principal;
    switch (location.kind) {
      case 'above':
        if (context.request.method === 'OPTIONS') sendAboveOptions(context);
        else answerAbove(context, location.members);
        return;
      case 'uploads':
        if (userIdOf(location.user) === user.id) {
          const tree = await treeOf(this.#services.metadata, context.principal, location.user);
          await this.#services.uploads.handle(context, location, tree);
        } else {
          sendNotFound(context);
        }
        return;
      case 'files': {
        if (location.user !== null && userIdOf(location.user) !== user.id) {
          sendNotFound(context);
          return;
        }
        const { request, response, id, log, signal } = context;
        await this.#services.dav.handle(request, response, {
          ...(await treeOf(this.#services.metadata, context.principal, location.user)),
          basePath: location.base,
          ...(request.headers['user-agent'] === undefined ? {} : { client: request.headers['user-agent'] }),
          requestId: id,
          log,
          signal,
        });
      }
    }
  }

  async #asUser(
    context: RequestContext,
    onPrincipal: (principal: Principal) => void,
    then: (context: UserContext) => Promise<void>,
  ): Promise<void> {
    const admission = await this.#services.guard.admit(context);
    if (admission.kind !== 'user') {
      sendRefusal(context, admission);
      return;
    }
    onPrincipal(admission.principal);
    await then({ ...context, principal: admission.principal });
  }
}

/** The parts of a DAV context that come from the user alone. `spelled`: the name as this request writes it. */
async function treeOf(metadata: MetadataStore, principal: Principal, spelled: string | null) {
  const { user } = principal;
  const root = await metadata.read((tx) => tx.root(user.id));
  const rootId = (root ?? (await metadata.write((tx) => tx.ensureRoot(user.id)))).id;
  const names = new Set([user.name, user.id, spelled ?? user.name].map(encodeSegment));
  const named = [...names].flatMap((name) => [`/dav/files/${name}/`, `/remote.php/dav/files/${name}/`]);
  return {
    principal: {
      userId: user.id,
      displayName: user.displayName,
      isAdmin: user.isAdmin,
      href: `/remote.php/dav/files/${encodeSegment(user.name)}/`,
    },
    rootId,
    aliases: [...named, '/remote.php/webdav/', '/webdav/'],
  };
}

/** GET or HEAD; anything else has been answered. */
function isRead(context: RequestContext): boolean {
  const { method } = context.request;
  if (method === 'GET' || method === 'HEAD') return true;
  sendMethodNotAllowed(context, 'GET, HEAD');
  return false;
}

function sendNotFound(context: RequestContext): void {
  const message = 'There is nothing at this address, or it is not yours to see.';
  sendXml(context, 404, errorBody({ exception: 'Sabre\\DAV\\Exception\\NotFound', message }));
}
