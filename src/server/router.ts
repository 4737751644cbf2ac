// Which handler answers which URL, and who may ask. Thin: paths in, calls out.

import { CloudError } from '../errors.js';
import type { Log } from '../log.js';
import { decodeSegment, encodeSegment } from '../names.js';
import { errorBody } from '../remote/wire/multistatus.js';
import { answerAbove, DAV_OPTIONS_HEADERS, sendAboveOptions } from './above_trees.js';
import type { AccountStore } from './accounts/account_store.js';
import { userIdOf } from './accounts/user_name.js';
import { ACTIVITY_PATH, type ActivityApi, activityApi } from './api/activity.js';
import { appPasswords } from './api/app_passwords.js';
import { capabilitiesDocument } from './api/capabilities.js';
import { landingPage } from './api/landing_page.js';
import type { LoginFlowApi } from './api/login_flow.js';
import { type OcsVersion, sendOcs } from './api/ocs.js';
import { SHAREES_PATH, type Sharees } from './api/sharees.js';
import { SHARES_PATH, type ShareApi, sharesApi } from './api/shares.js';
import { statusDocument } from './api/status.js';
import { ocsUser } from './api/user.js';
import type { Principal } from './auth/authenticator.js';
import { CHALLENGE } from './auth/credentials.js';
import { isLoopback } from './client_address.js';
import type { DavContext, DavHandler, DavPrincipal } from './dav/handler.js';
import { sendError } from './dav/status.js';
import { type Guard, sendRefusal } from './guard.js';
import { aboutRequest, actFor, type RequestContext, type UserContext } from './http_context.js';
import { type Location, locate } from './locations.js';
import type { Metrics } from './metrics/metrics.js';
import type { PushServer } from './push/push_server.js';
import { sendBody, sendEmpty, sendHtml, sendJson, sendMethodNotAllowed, sendText, sendXml } from './respond.js';
import type { PublicFace } from './sharing/public_face.js';
import type { MetadataStore, NodeId } from './storage/metadata/metadata_store.js';
import type { UploadHandler } from './uploads/upload_handler.js';

/** What a file or folder takes; which of it a given one does is told to who is logged in. */
const FILE_METHODS = 'OPTIONS, GET, HEAD, PUT, DELETE, PROPFIND, PROPPATCH, MKCOL, COPY, MOVE, LOCK, UNLOCK, REPORT';

/** Where nothing else can be than users' files; other spellings of the same are found out later. */
const TREES = /^\/(?:remote\.php\/)?(?:dav|webdav)\//;

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
  readonly loginFlow: LoginFlowApi;
}

export class Router {
  readonly #services: RouterServices;

  constructor(services: RouterServices) {
    this.#services = services;
  }

  /** Always answers. */
  async handle(context: RequestContext): Promise<void> {
    try {
      if (!TREES.test(context.path)) {
        if (await this.#plain(context)) return;
        if (await this.#services.publicFace.handle(context)) return;
      }
      await this.#tree(context);
    } catch (error) {
      sendError(context.response, error, context.log);
    }
  }

  /** What is no WebDAV; false = not ours. */
  async #plain(context: RequestContext): Promise<boolean> {
    const { method } = context.request;
    const path = context.path.replace(/^\/index\.php(?=\/)/, '');
    const ocs = /^\/ocs\/v([12])\.php\/(.*)$/.exec(path);
    if (ocs !== null) {
      const version = ocs[1] === '1' ? 1 : 2;
      await this.#ocs(context, version, (ocs[2] ?? '').replace(/\/$/, '')).catch((error: unknown) => {
        sendError(context.response, error, context.log, (status, message) =>
          sendOcs(context, version, { status, message, data: [] }),
        );
      });
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
        if (isRead(context)) await this.#metrics(context);
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
        await this.#asUser(context, async (user) => {
          sendText(user, 200, this.#services.push.preAuth.issue(user.principal), { 'Cache-Control': 'no-store' });
        });
        return true;
      case '/push/ws':
        sendText(context, 426, 'A WebSocket is required here.\n', { Upgrade: 'websocket', Connection: 'Upgrade' });
        return true;
      default:
        return await this.#services.loginFlow.handle(context, path);
    }
  }

  async #health(context: RequestContext): Promise<void> {
    await this.#services.metadata.read((tx) => tx.head());
    sendJson(context, 200, { status: 'ok' }, { 'Cache-Control': 'no-store' });
  }

  /** For a Prometheus on this machine, or for an administrator. */
  async #metrics(context: RequestContext): Promise<void> {
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
    await this.#asUser(context, async (user) => {
      if (!user.principal.user.isAdmin)
        throw new CloudError('no_access', 'metrics: only an administrator may see them');
      await send();
    });
  }

  async #ocs(context: RequestContext, version: OcsVersion, path: string): Promise<void> {
    const admission = await this.#services.guard.admit(context);
    if (admission.kind === 'throttled') {
      sendRefusal(context, admission);
      return;
    }
    if (admission.kind === 'user') context.principal = admission.principal;
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

  async #tree(context: RequestContext): Promise<void> {
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
    await this.#asUser(context, (user) => this.#inTree(user, location));
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
        const { request, response } = context;
        const tree = await treeOf(this.#services.metadata, context.principal, location.user);
        await this.#services.dav.handle(
          request,
          response,
          new TreeContext(context, location.base, tree),
          location.path,
        );
      }
    }
  }

  async #asUser(context: RequestContext, then: (context: UserContext) => Promise<void>): Promise<void> {
    const admission = await this.#services.guard.admit(context);
    if (admission.kind !== 'user') {
      sendRefusal(context, admission);
      return;
    }
    await then(actFor(context, admission.principal));
  }
}

/** The parts of a DAV context that come from the user alone. */
type Tree = Pick<DavContext, 'principal' | 'rootId'> & { readonly aliases: readonly string[] };

/** `spelled`: the name as this request writes it. */
async function treeOf(metadata: MetadataStore, principal: Principal, spelled: string | null): Promise<Tree> {
  const { user } = principal;
  const root = await metadata.read((tx) => tx.root(user.id));
  const rootId = (root ?? (await metadata.write((tx) => tx.ensureRoot(user.id)))).id;
  const known = trees.get(principal);
  if (known !== undefined && known.rootId === rootId && known.spelled === spelled) return known;
  const tree = { ...describeTree(principal, spelled), rootId, spelled };
  trees.set(principal, tree);
  return tree;
}

/** A login is the same object from request to request. */
const trees = new WeakMap<Principal, Tree & { readonly spelled: string | null }>();

function describeTree(login: Principal, spelled: string | null): Omit<Tree, 'rootId'> {
  const { user, loginVersion: version, credential } = login;
  const names = new Set([user.name, user.id, spelled ?? user.name].map(encodeSegment));
  const named = [...names].flatMap((name) => [`/dav/files/${name}/`, `/remote.php/dav/files/${name}/`]);
  return {
    principal: {
      userId: user.id,
      displayName: user.displayName,
      isAdmin: user.isAdmin,
      login: { version, credential },
      href: `/remote.php/dav/files/${encodeSegment(user.name)}/`,
    },
    aliases: [...named, '/remote.php/webdav/', '/webdav/'],
  };
}

class TreeContext implements DavContext {
  readonly principal: DavPrincipal;
  readonly rootId: NodeId;
  readonly aliases: readonly string[];
  readonly basePath: string;
  readonly requestId: string;
  readonly log: Log;
  readonly client?: string;
  readonly #request: RequestContext;

  constructor(request: RequestContext, basePath: string, { principal, rootId, aliases }: Tree) {
    this.principal = principal;
    this.rootId = rootId;
    this.aliases = aliases;
    this.basePath = basePath;
    const { requestId, log, client } = aboutRequest(request);
    this.requestId = requestId;
    this.log = log;
    this.#request = request;
    if (client !== undefined) this.client = client;
  }

  get signal(): AbortSignal {
    return this.#request.signal;
  }
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
