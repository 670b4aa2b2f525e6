//! The way to the provider and back. Always true: what comes back is taken only with the cookie of the
//! browser that left, on the device it left from; and whoever comes back goes on to where they wanted.

use std::{fmt::Write, time::Duration};

use axum::{
    Extension,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use control::oidc::{Begin, Pending, Prompt, Refusal, Returned, SignInError};
use policy::decision::StepUp;
use protocol::config::Secret;
use serde::Deserialize;
use tokio::time::timeout;

use super::{Door, Visitor, back::back, cookie, html, html_with, words};
use crate::{
    access::WayIn,
    admin::now,
    config::Provider,
    page::{card, escape},
    sessions::{Arrival, NoSession},
    snapshot::Snapshot,
};

/// How somebody is sent to sign in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// Where to go afterwards.
    pub to: String,
    /// What they have to prove anew.
    pub step_up: Option<StepUp>,
    /// Whether the provider must not bother them.
    pub silent: bool,
}

impl Way {
    /// The address of the door that leads there.
    pub fn address(&self, origin: &str) -> String {
        let mut address = format!("{origin}/sign-in?to={}", encoded(&self.to));
        if let Some(StepUp { max_age, acr }) = &self.step_up {
            if let Some(max_age) = max_age {
                let _ = write!(address, "&max_age={}", max_age.as_secs());
            }
            if let Some(acr) = acr {
                let _ = write!(address, "&acr={}", encoded(acr));
            }
        }
        if self.silent {
            address.push_str("&silent=1");
        }
        address
    }
}

/// What leads in, for a navigation to `to` that was denied.
pub fn way_in(way_in: &WayIn, to: String) -> Way {
    match way_in {
        WayIn::SignIn => Way { to, ..Way::default() },
        WayIn::StepUp(step_up) => Way { to, step_up: Some(step_up.clone()), silent: false },
    }
}

/// As a value in a query (RFC 3986, unreserved characters stay).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// A person on the way to a page waits no longer for what they did not ask for.
const SOON: Duration = Duration::from_secs(2);

/// What `/sign-in` is asked with.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    to: String,
    provider: Option<String>,
    max_age: Option<u32>,
    acr: Option<String>,
    silent: Option<String>,
    /// Whether the person wants to be somebody else at the provider.
    other: Option<String>,
}

impl Asked {
    fn way(&self) -> Way {
        let step_up = StepUp {
            max_age: self.max_age.map(|seconds| Duration::from_secs(seconds.into())),
            acr: self.acr.clone(),
        };
        let asked = step_up.max_age.is_some() || step_up.acr.is_some();
        Way { to: self.to.clone(), step_up: asked.then_some(step_up), silent: self.silent.is_some() }
    }
}

pub(super) async fn begin(
    State(door): State<Door>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let snapshot = door.snapshot();
    let way = asked.way();
    let provider = match (&asked.provider, snapshot.config().providers.as_slice()) {
        (_, []) => return html_with(StatusCode::NOT_FOUND, no_provider()),
        (Some(name), _) => Door::provider(&snapshot, name),
        (None, [only]) => Some(only.clone()),
        (None, several) => {
            // Who is signed in goes back to where they signed in.
            let session = snapshot.directory().session(&visitor.device);
            let known = session.and_then(|session| Door::provider(&snapshot, session.provider.as_str()));
            match known.filter(|_| way.silent || way.step_up.is_some()) {
                Some(provider) => Some(provider),
                None => return html(chooser(several, &way, asked.other.is_some())),
            }
        }
    };
    let Some(provider) = provider else { return html_with(StatusCode::NOT_FOUND, no_provider()) };
    leave(&door, &visitor, &headers, &provider, &way, asked.other.is_some()).await
}

/// Sends the person to the provider, with what has to come back sealed in their browser.
async fn leave(
    door: &Door,
    visitor: &Visitor,
    headers: &HeaderMap,
    provider: &Provider,
    way: &Way,
    other: bool,
) -> Response {
    let (snapshot, at) = (door.snapshot(), now());
    let origin = snapshot.config().door.origin();
    let again = way.address(&origin);
    let Some(client) = door.0.parts.sessions.providers.of(provider) else {
        return html_with(StatusCode::NOT_FOUND, no_provider());
    };
    if way.silent {
        // Who does not come back is not sent again for a while; nor is anybody to a provider that is down.
        door.0.parts.renewals.failed(&visitor.device);
        if !answers(door, &client).await {
            return go_on(door, &snapshot, visitor, &way.to);
        }
    }
    let step_up = way.step_up.clone().unwrap_or(StepUp { max_age: None, acr: None });
    let owner = snapshot.device(&visitor.device).and_then(|device| snapshot.user(&device.facts.owner));
    let begin = Begin {
        redirect_uri: Door::callback(&origin, &provider.spec.id),
        prompt: if way.silent { Some(Prompt::None) } else { other.then_some(Prompt::Login) },
        max_age: step_up.max_age,
        acr: step_up.acr.clone(),
        login_hint: owner.and_then(|owner| owner.facts.email.clone()).filter(|_| !other),
    };
    let begun = match client.begin(begin, at).await {
        Ok(begun) => begun,
        // Nobody is bothered with what they did not ask for.
        Err(_) if way.silent => return go_on(door, &snapshot, visitor, &way.to),
        Err(error) => return failed(door, visitor, provider, &error, &again),
    };
    let keys = door.0.parts.sessions.keys.load_full();
    let store = &snapshot.directory().meta().store;
    let mut kept = cookie::read(headers, &keys, store, &visitor.device, at);
    kept.push(cookie::Begun {
        provider: provider.spec.id.clone(),
        state: begun.state,
        nonce: begun.pending.nonce,
        verifier: begun.pending.verifier.expose().clone(),
        to: back(&snapshot, &way.to).unwrap_or_default(),
        max_age: begun.pending.max_age,
        acr: begun.pending.acr,
        silent: way.silent,
        at,
    });
    let cookie = cookie::write(&kept, &keys, store, &visitor.device);
    with_cookie(Redirect::to(&begun.url).into_response(), cookie)
}

/// Whether the provider is there, within what a person on the way to a page may be kept for it.
async fn answers(door: &Door, client: &control::oidc::Provider) -> bool {
    let answers = async {
        let _place = door.0.under_way.acquire().await;
        client.answers().await
    };
    timeout(SOON, answers).await.unwrap_or(false)
}

/// What the provider sends the browser back with.
#[derive(Deserialize)]
pub(super) struct Back {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

pub(super) async fn finish(
    State(door): State<Door>,
    Extension(visitor): Extension<Visitor>,
    Path(provider): Path<String>,
    Query(came): Query<Back>,
    headers: HeaderMap,
) -> Response {
    let (snapshot, at) = (door.snapshot(), now());
    let keys = door.0.parts.sessions.keys.load_full();
    let store = &snapshot.directory().meta().store;
    let mut kept = cookie::read(&headers, &keys, store, &visitor.device, at);
    let state = came.state.clone().unwrap_or_default();
    let place = kept.iter().position(|begun| begun.state == state && begun.provider.as_str() == provider);
    let Some(begun) = place.map(|place| kept.remove(place)) else {
        tracing::warn!(target: "session", device = %visitor.device, provider, "a sign-in came back that was not begun here");
        return html_with(StatusCode::BAD_REQUEST, words::not_begun_here("/sign-in"));
    };
    let forget = cookie::write(&kept, &keys, store, &visitor.device);
    let answer = match Door::provider(&snapshot, &provider) {
        Some(provider) => arrive(&door, &visitor, &provider, begun, came).await,
        None => html_with(StatusCode::NOT_FOUND, no_provider()),
    };
    with_cookie(answer, forget)
}

/// Who came back from where we sent them.
async fn arrive(
    door: &Door,
    visitor: &Visitor,
    provider: &Provider,
    begun: cookie::Begun,
    came: Back,
) -> Response {
    let snapshot = door.snapshot();
    let origin = snapshot.config().door.origin();
    let step_up = StepUp { max_age: begun.max_age, acr: begun.acr.clone() };
    let asked = step_up.max_age.is_some() || step_up.acr.is_some();
    let way = Way { to: begun.to.clone(), step_up: asked.then_some(step_up), silent: false };
    let again = way.address(&origin);
    let told = match told(door, provider, &origin, &begun, came).await {
        Ok(told) => told,
        Err(_) if begun.silent => return go_on(door, &snapshot, visitor, &begun.to),
        Err(error) => return failed(door, visitor, provider, &error, &again),
    };
    let arrival = Arrival {
        device: &visitor.device,
        source: visitor.source.ip(),
        provider,
        told,
        silent: begun.silent,
    };
    match door.0.parts.sessions.sign_in(arrival).await {
        Ok(()) => {
            door.0.parts.renewals.succeeded(&visitor.device, way.step_up.as_ref());
            tracing::info!(target: "session", device = %visitor.device, provider = %provider.spec.id, "signed in");
            let to = back(&door.snapshot(), &begun.to).unwrap_or_else(|| format!("{origin}/"));
            Redirect::to(&to).into_response()
        }
        // The provider remembers somebody else, or the store is away: nothing that was asked for here.
        Err(_) if begun.silent => go_on(door, &snapshot, visitor, &begun.to),
        Err(NoSession::Refused(refused)) => {
            html_with(StatusCode::FORBIDDEN, refused_page(&refused.to_string(), &way, &origin))
        }
        Err(NoSession::NotKept(error)) => {
            tracing::error!(target: "session", device = %visitor.device, %error, "a sign-in could not be kept");
            let page = words::message(
                "You are not signed in",
                "The gateway cannot keep your sign-in at the moment.",
                "This is not your fault: try again in a minute.",
                &words::button(&again, "Try again"),
            );
            html_with(StatusCode::SERVICE_UNAVAILABLE, page)
        }
    }
}

async fn told(
    door: &Door,
    provider: &Provider,
    origin: &str,
    begun: &cookie::Begun,
    came: Back,
) -> Result<control::oidc::SignedIn, SignInError> {
    if let Some(error) = &came.error {
        return Err(SignInError::Refused(Refusal::read(error, came.error_description.as_deref())));
    }
    let returned = Returned { code: Secret::new(came.code.unwrap_or_default()), iss: came.iss };
    let pending = Pending {
        redirect_uri: Door::callback(origin, &provider.spec.id),
        nonce: begun.nonce.clone(),
        verifier: Secret::new(begun.verifier.clone()),
        max_age: begun.max_age,
        acr: begun.acr.clone(),
    };
    let client = door.0.parts.sessions.providers.of(provider);
    let client = client.ok_or_else(|| SignInError::RedirectUri(String::new()))?;
    let _place = door.0.under_way.acquire().await;
    client.complete(&returned, &pending, now()).await
}

/// The provider would have had to ask: not again for a while, and the person goes on as they are.
fn go_on(door: &Door, snapshot: &Snapshot, visitor: &Visitor, to: &str) -> Response {
    door.0.parts.renewals.failed(&visitor.device);
    let to = back(snapshot, to).unwrap_or_else(|| format!("{}/", snapshot.config().door.origin()));
    Redirect::to(&to).into_response()
}

fn failed(door: &Door, visitor: &Visitor, provider: &Provider, error: &SignInError, again: &str) -> Response {
    let provider = &provider.spec.id;
    tracing::warn!(target: "session", device = %visitor.device, %provider, fault = ?error.fault(), "not signed in: {error}");
    door.0.parts.sessions.note_failed(&visitor.device, visitor.source.ip(), provider, error);
    html_with(StatusCode::BAD_GATEWAY, words::not_signed_in(error, again))
}

fn with_cookie(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn no_provider() -> String {
    words::message(
        "Nobody can sign in here",
        "This gateway knows no such identity provider.",
        "Tell those who run it: `[[provider]]` in doorward.toml names them.",
        &words::button("/", "To the portal"),
    )
}

fn refused_page(why: &str, way: &Way, origin: &str) -> String {
    let other = format!("{}&other=1", way.address(origin));
    words::message(
        "You are not signed in",
        why,
        "Sign in with the account this device belongs to, or ask your administrators to give the device to you.",
        &words::button(&other, "Sign in with another account"),
    )
}

fn chooser(providers: &[Provider], way: &Way, other: bool) -> String {
    let other = if other { "&other=1" } else { "" };
    let buttons: String = providers
        .iter()
        .map(|provider| {
            let provider_id = encoded(provider.spec.id.as_str());
            let address = format!("{}&provider={provider_id}{other}", way.address(""));
            words::button(&address, &provider.label)
        })
        .collect();
    let main = format!("<p>{}</p><div class=\"buttons\">{buttons}</div>", escape("Where is your account?"));
    card("Sign in", "", &main, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_says_all_it_must() {
        let step_up = StepUp { max_age: Some(Duration::from_secs(900)), acr: Some("m f&a".to_owned()) };
        let way = Way { to: "https://a.b/?c=d&e".to_owned(), step_up: Some(step_up), silent: true };
        assert_eq!(
            way.address("https://door"),
            "https://door/sign-in?to=https%3A%2F%2Fa.b%2F%3Fc%3Dd%26e&max_age=900&acr=m%20f%26a&silent=1"
        );
    }
}
