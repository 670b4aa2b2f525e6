// A real, OpenID-certified provider (npm oidc-provider) as a company runs one, with the controls a test
// needs below /_test/. It reads SETTINGS, a JSON object:
//   issuer                       https://address:port; it listens there
//   certificate, key             PEM files for https
//   clients                      client metadata (OpenID Connect Registration §2, and of its logouts)
//   lifetimes                    seconds by oidc-provider's model name, e.g. { "AccessToken": 5 }
//   refresh                      whether refresh tokens are issued
//   hosts                        addresses by name, for names that no name server knows
//   thin                         whether e-mail, name and groups are told by userinfo alone, not in the ID token
// Everybody's password is "pw". The subject is the login.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import dns from 'node:dns';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { json, text } from 'node:stream/consumers';

import Provider, { interactionPolicy } from 'oidc-provider';
import Memory from 'oidc-provider/lib/adapters/memory_adapter.js';

const settings = JSON.parse(process.env.SETTINGS);

// What it calls is looked up here, as the machine's own list of hosts would have it.
const system = dns.lookup;
dns.lookup = (name, options, callback = options) => {
  const address = settings.hosts?.[name];
  if (!address) return system(name, options, callback);
  return options.all ? callback(null, [{ address, family: 4 }]) : callback(null, address, 4);
};

const PASSWORD = 'pw';
const LONGEST_LOG = 5000;
const LIFETIMES = {
  AccessToken: 300, AuthorizationCode: 60, Grant: 86400, IdToken: 300, Interaction: 600, RefreshToken: 86400,
  Session: 43200,
};

// --- people ----------------------------------------------------------------------------------------

const people = new Map(Object.entries({
  alice: person('Alice Archer', ['staff', 'admins']),
  bob: person('Bob Baker', ['staff']),
  carol: person('Carol Carter', ['contractors']),
  mallory: person('Mallory Marsh', []),
}));

function person(name, groups) {
  const given = name.split(' ')[0].toLowerCase();
  return { name, email: `${given}@corp.example`, email_verified: true, preferred_username: given, groups };
}

function findAccount(_context, id) {
  const { disabled, ...claims } = people.get(id) ?? { disabled: true };
  return disabled ? undefined : { accountId: id, claims: () => ({ sub: id, ...claims }) };
}

// --- the provider ----------------------------------------------------------------------------------

function freshKeys() {
  const pairs = {
    RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  };
  return Object.entries(pairs).map(([alg, { privateKey }]) =>
    ({ ...privateKey.export({ format: 'jwk' }), kid: `${alg}-${randomBytes(4).toString('hex')}`, alg, use: 'sig' }));
}

/// The package's own memory would end with a provider; this one, by another name, is everybody's.
class Kept extends Memory {}

/// A provider with the current keys, and with all sessions, grants and tokens.
function build() {
  const built = new Provider(settings.issuer, {
    adapter: Kept,
    clients: settings.clients,
    clientDefaults: {
      grant_types: ['authorization_code', 'refresh_token'],
      backchannel_logout_session_required: true,
      require_auth_time: true,
    },
    jwks: { keys },
    ttl: { ...LIFETIMES, ...settings.lifetimes },
    cookies: { keys: ['k1'] },
    scopes: ['openid', 'offline_access', 'email', 'profile', 'groups'],
    claims: {
      openid: ['sub', 'acr', 'amr', 'auth_time'],
      email: ['email', 'email_verified'],
      profile: ['name', 'preferred_username'],
      groups: ['groups', 'hasgroups'],
    },
    conformIdTokenClaims: settings.thin ?? false,
    acrValues: ['pwd', 'mfa'],
    pkce: { required: () => true },
    issueRefreshToken: (_context, client) => settings.refresh !== false && client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true, // and whoever uses an old one again ends the grant
    findAccount,
    loadExistingGrant: grant,
    // The package refuses to call private addresses; here there are no others.
    fetch: (url, { dispatcher: _guard, ...rest }) => fetch(url, rest),
    interactions: { policy: policy(), url: (_context, { uid }) => `/interaction/${uid}` },
    features: {
      backchannelLogout: { enabled: true },
      claimsParameter: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      pushedAuthorizationRequests: { enabled: true },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true, logoutSource: logoutAtOnce },
    },
  });
  built.on('server_error', (_context, error) => console.error('server error:', error));
  built.on('grant.error', (_context, error) => console.log('no tokens:', error.error, error.error_detail));
  built.on('authorization.success', ({ oidc: { session, client } }) => remember(session, client.clientId));
  built.on('backchannel.success', (_context, client) => console.log('logout told to', client.clientId));
  built.on('grant.success', ({ body, oidc: { params } }) => {
    secrets.push(body.access_token, body.id_token, body.refresh_token, params.code, params.code_verifier);
  });
  built.on('backchannel.error', (_context, error, { clientId }) => console.log('logout not told to', clientId, why(error)));
  return built;
}

/// The usual questions, and one more: who asks for mfa (`acr_values`) is not content with an older password.
function policy() {
  const { Check, base } = interactionPolicy;
  const all = base();
  all.get('login').checks.add(new Check('acr_values', 'a stronger sign-in is asked for', ({ oidc }) => {
    const asked = oidc.params.acr_values?.split(' ') ?? [];
    const enough = asked.length === 0 || asked.includes(oidc.session.acr) || oidc.result?.login;
    return enough ? Check.NO_NEED_TO_PROMPT : Check.REQUEST_PROMPT;
  }));
  return all;
}

let keys = freshKeys();
let provider = build();
// Sessions clients know of, by person: client -> sid, for logouts that the provider begins.
const sessions = new Map();

/// Nobody is asked for consent: what a client asks for is granted.
async function grant({ oidc: { result, session, client, provider: { Grant } } }) {
  const id = result?.consent?.grantId ?? session.grantIdFor(client.clientId);
  const found = (id && await Grant.find(id)) || new Grant({ clientId: client.clientId, accountId: session.accountId });
  found.addOIDCScope('openid offline_access email profile groups');
  await found.save();
  return found;
}

/// Confirms by itself that the person wants to leave.
function logoutAtOnce(context, form) {
  const yes = '<input type="hidden" name="logout" value="yes"></form>';
  context.body = page('Signing out', `${form.replace('</form>', yes)}<script>document.forms[0].submit()</script>`);
}

function remember(session, client) {
  if (!sessions.has(session.accountId)) sessions.set(session.accountId, new Map());
  sessions.get(session.accountId).set(client, session.sidFor(client));
}

// --- the sign-in page ------------------------------------------------------------------------------

async function interact(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (details.prompt.name === 'consent') return consent(request, response, details);
  if (request.method === 'GET') return send(response, 200, signInPage(request.url, details.params));
  const form = new URLSearchParams(await text(request));
  const finish = (result) =>
    provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  if (form.has('cancel')) return finish({ error: 'access_denied', error_description: 'the person went away' });
  const login = form.get('login');
  if (form.get('password') !== PASSWORD || !findAccount(null, login)) {
    return send(response, 401, signInPage(request.url, details.params, 'Wrong name or password'));
  }
  const strength = form.has('mfa') ? { acr: 'mfa', amr: ['pwd', 'otp', 'mfa'] } : { acr: 'pwd', amr: ['pwd'] };
  return finish({ login: { accountId: login, ...strength } });
}

async function consent(request, response, { grantId, params, session }) {
  const { Grant } = provider;
  const given = (grantId && await Grant.find(grantId))
    || new Grant({ accountId: session.accountId, clientId: params.client_id });
  given.addOIDCScope(params.scope);
  const result = { consent: { grantId: await given.save() } };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

function signInPage(path, { login_hint: hint = '', acr_values: asked = '' }, complaint = '') {
  const mfa = asked.split(' ').includes('mfa') ? 'checked' : '';
  return page('Sign in', `<h1>Corp sign-in</h1><p role="alert">${complaint}</p>
    <form method="post" action="${escape(path)}">
      <label>Name <input name="login" autocomplete="username" value="${escape(hint)}"></label>
      <label>Password <input name="password" type="password"></label>
      <label><input name="mfa" type="checkbox" ${mfa}> Second factor</label>
      <button name="enter">Sign in</button> <button name="cancel">Cancel</button>
    </form>`);
}

function page(title, body) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title>
    <meta name="viewport" content="width=device-width"><style>body{font:16px sans-serif}label{display:block}</style>
    ${body}</html>`;
}

function escape(value) {
  return value.replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
}

// --- what a test may do besides --------------------------------------------------------------------

const log = [];
const secrets = []; // tokens it gave away, and what they were asked for with
const faults = new Map(); // path -> { status, error, delay in ms, late in ms, times }

const controls = {
  /// New keys sign from now on; with `drop` the old ones are no longer published.
  keys({ drop }) {
    keys = drop ? freshKeys() : [...freshKeys(), ...keys];
    provider = build();
    return keys.map(({ kid }) => kid);
  },
  /// Changes what is known of a person; null takes a claim away.
  person({ login, ...changes }) {
    const changed = Object.entries({ ...people.get(login), ...changes }).filter(([, value]) => value !== null);
    people.set(login, Object.fromEntries(changed));
    return people.get(login);
  },
  remove({ login }) {
    return people.delete(login);
  },
  fault({ path, status = 500, error = 'server_error', delay = 0, late = 0, times = 1 }) {
    faults.set(path, { status, error, delay, late, times });
    return faults.size;
  },
  heal() {
    faults.clear();
    return 0;
  },
  /// Tells every client that knows a session of this person; what came of it, by client.
  async logout({ sub }) {
    const told = [...sessions.get(sub) ?? []].map(async ([id, sid]) => {
      const client = await provider.Client.find(id);
      if (!client?.backchannelLogoutUri) return [id, 'wants none'];
      return [id, await client.backchannelLogout(sub, sid).then(() => 'told', why)];
    });
    return Object.fromEntries(await Promise.all(told));
  },
  requests() {
    return log;
  },
  secrets() {
    return secrets.filter(Boolean);
  },
};

function why(error) {
  return [error.message, error.cause?.code ?? error.cause?.message].filter(Boolean).join(': ');
}

async function control(name, request, response) {
  const act = Object.hasOwn(controls, name) ? controls[name] : undefined;
  if (!act || request.method !== 'POST') return send(response, 404, { error: 'no such control' });
  return send(response, 200, await act(await json(request)));
}

/// Lets what is answered wait.
function hold(response, late) {
  const end = response.end.bind(response);
  response.end = (...rest) => { setTimeout(() => end(...rest), late); return response; };
}

/// Whether a fault answered, or kept the caller waiting, instead of the provider.
async function faulty(path, response) {
  const fault = faults.get(path);
  if (!fault || fault.times < 1) return false;
  fault.times -= 1;
  if (fault.delay) await new Promise((resolve) => { setTimeout(resolve, fault.delay); });
  if (fault.late) hold(response, fault.late);
  if (fault.status === 200) return false;
  send(response, fault.status, { error: fault.error });
  return true;
}

// --- the server ------------------------------------------------------------------------------------

function send(response, status, body) {
  const html = typeof body === 'string';
  response.writeHead(status, {
    'content-type': html ? 'text/html; charset=utf-8' : 'application/json',
    // No form-action: browsers hold the redirects after a form to it, and those lead to the clients.
    ...(html && { 'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'" }),
  });
  response.end(html ? body : JSON.stringify(body));
}

async function answer(request, response) {
  const path = request.url.split('?')[0];
  if (path.startsWith('/_test/')) return control(path.slice('/_test/'.length), request, response);
  const entry = { method: request.method, path, status: null };
  log.push(entry);
  if (log.length > LONGEST_LOG) log.shift();
  // Also if nobody waited for it.
  response.on('close', () => { entry.status = response.statusCode; });
  if (await faulty(path, response)) return undefined;
  if (path.startsWith('/interaction/')) return interact(request, response);
  return provider.callback()(request, response);
}

const files = { cert: readFileSync(settings.certificate), key: readFileSync(settings.key) };
const { hostname, port } = new URL(settings.issuer);
createServer(files, (request, response) => {
  answer(request, response).catch((error) => {
    console.error('no answer:', error);
    if (!response.headersSent) send(response, error.statusCode ?? 500, { error: error.error ?? 'server_error' });
  });
}).listen(port, hostname, () => console.log('provider ready'));
