//! What the door says when something is not as expected: plain words, whose matter it is, what helps.
//! It decides nothing. Always true: nothing of a provider's tokens or inside errors stands in it.

use axum::response::{Html, IntoResponse};
use control::oidc::{Fault, SignInError};

use crate::{
    http::CrossSite,
    page::{card, escape},
};

/// One page with a heading, a text and what helps.
pub fn message(title: &str, text: &str, remedy: &str, buttons: &str) -> String {
    let remedy =
        if remedy.is_empty() { String::new() } else { format!("<p class=\"quiet\">{}</p>", escape(remedy)) };
    let buttons =
        if buttons.is_empty() { String::new() } else { format!("<div class=\"buttons\">{buttons}</div>") };
    card(title, "", &format!("<p>{}</p>{remedy}{buttons}", escape(text)), "")
}

/// A link that looks like a button.
pub fn button(to: &str, label: &str) -> String {
    format!("<a class=\"button\" href=\"{}\">{}</a>", escape(to), escape(label))
}

pub(super) fn nothing_here() -> impl IntoResponse {
    Html(message("There is nothing here", "The portal has no such page.", "", &button("/", "To the portal")))
}

pub(super) fn misdirected() -> impl IntoResponse {
    Html(message("This name is not served here", "The address you reached is the portal's.", "", ""))
}

pub(super) fn cross_site(error: CrossSite) -> impl IntoResponse {
    let text = format!("Refused: {error}.");
    Html(message("Another site asked for this", &text, "Open the portal itself and try again.", ""))
}

/// Why a provider did not sign the person in.
pub(super) fn not_signed_in(error: &SignInError, again: &str) -> String {
    let remedy = match error.fault() {
        Fault::Person => "Try again.",
        Fault::Operator => "This is not your fault: tell those who run the gateway; its log has the details.",
        Fault::Provider => "This is not your fault: try again in a few minutes.",
    };
    message("You are not signed in", error.told(), remedy, &button(again, "Try again"))
}

/// Somebody came back who did not leave from here.
pub(super) fn not_begun_here(again: &str) -> String {
    message(
        "This sign-in was not begun here",
        "It was begun on another device or in another browser, or more than ten minutes ago.",
        "A sign-in is finished in the browser in which it was begun, over this device's tunnel. If somebody sent you a link to sign in, do not follow it.",
        &button(again, "Sign in here"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_is_escaped() {
        let page = message("<t>", "<x>", "<r>", &button("/\"><i>", "<b>"));
        for part in ["&lt;t&gt;", "&lt;x&gt;", "&lt;r&gt;", "/&quot;&gt;&lt;i&gt;", "&lt;b&gt;"] {
            assert!(page.contains(part), "{part} not in {page}");
        }
    }
}
