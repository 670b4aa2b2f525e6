//! Signing out: here, on another device of one's own, or everywhere, and then at the provider.
//! Always true: it has ended when the answer says so; the provider is told nothing but who we are.

use axum::{
    Extension, Form,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use protocol::id::DeviceId;
use serde::Deserialize;

use super::{Door, Visitor, html, html_with, words};
use crate::{admin::now, books::random_id, sessions::Which};

/// Which sessions: this device's, if nothing is said.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    device: Option<String>,
    everywhere: Option<String>,
}

pub(super) async fn sign_out(
    State(door): State<Door>,
    Extension(visitor): Extension<Visitor>,
    Form(asked): Form<Asked>,
) -> Response {
    let snapshot = door.snapshot();
    let Some(owner) = snapshot.device(&visitor.device).map(|device| device.facts.owner.clone()) else {
        return Redirect::to("/").into_response();
    };
    let here = snapshot.directory().session(&visitor.device).cloned();
    let which = match (&asked.everywhere, asked.device.as_deref().map(str::parse::<DeviceId>)) {
        (Some(_), _) => Which::Of(owner.clone()),
        (None, None) => Which::On(visitor.device.clone()),
        // Only one's own: what is another's is as if it were not there.
        (None, Some(device)) => match device.ok().filter(|device| is_own(&door, &owner, device)) {
            Some(device) => Which::On(device),
            None => return html_with(StatusCode::NOT_FOUND, no_such_device()),
        },
    };
    let leaves = which == Which::On(visitor.device.clone()) || asked.everywhere.is_some();
    if let Err(error) = door.0.parts.sessions.end(&which, "the person signed out").await {
        tracing::warn!(target: "session", device = %visitor.device, %error, "a sign-out is not durable yet");
    }
    if !leaves {
        return Redirect::to("/").into_response();
    }
    let provider = here.and_then(|session| Door::provider(&snapshot, session.provider.as_str()));
    let back = snapshot.config().door.signed_out();
    let client = provider.as_ref().and_then(|provider| door.0.parts.sessions.providers.of(provider));
    let elsewhere = match client {
        Some(client) => client.end_session_url(&back, &random_id(), now()).await,
        None => None,
    };
    let label = provider.map(|provider| provider.label);
    leaving(elsewhere.as_deref().zip(label.as_deref()))
}

fn is_own(door: &Door, owner: &protocol::id::UserId, device: &DeviceId) -> bool {
    door.snapshot().device(device).is_some_and(|device| device.facts.owner == *owner)
}

/// Says that it is done, and goes on to the provider by itself. Not by a redirect: browsers hold one that
/// answers a form to `form-action`.
fn leaving(elsewhere: Option<(&str, &str)>) -> Response {
    let Some((url, label)) = elsewhere else { return Redirect::to("/signed-out").into_response() };
    let page = words::message(
        "You are signed out here",
        &format!("Everything you had open has ended. Next, {label} signs you out as well."),
        "",
        &words::button(url, "Go on"),
    );
    let mut response = html(page);
    if let Ok(refresh) = HeaderValue::from_str(&format!("0;url={url}")) {
        response.headers_mut().insert(header::REFRESH, refresh);
    }
    response
}

pub(super) async fn signed_out() -> Response {
    html(words::message(
        "You are signed out",
        "Everything you had open on this device has ended.",
        "",
        &words::button("/sign-in", "Sign in again"),
    ))
}

fn no_such_device() -> String {
    let to_portal = words::button("/", "To the portal");
    words::message("You have no such device", "There is no device of yours by this name.", "", &to_portal)
}
