//! What goes back to browsers and clients, with the headers that keep it where it belongs.
//! Always true: nothing of ours is cached, framed or sniffed, unless said otherwise here.

use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION,
        REFERRER_POLICY, SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
};
use serde_json::Value;

/// A whole answer.
pub type Answer = Response<String>;

/// No script, nothing foreign. Browsers hold `form-action` against every redirect after a form as well, and
/// those lead to the client and on to its applications: hence any https there.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self' https:; \
                      frame-ancestors 'none'; base-uri 'none'";

/// A page for people.
pub fn page(status: StatusCode, html: String) -> Answer {
    let answer = plain(status, "text/html; charset=utf-8", html);
    with(answer, CONTENT_SECURITY_POLICY, POLICY)
}

/// A document for clients.
pub fn json(status: StatusCode, body: &Value) -> Answer {
    plain(status, "application/json", body.to_string())
}

/// A document for everybody: public, and the same for all.
pub fn public(kind: &'static str, body: String) -> Answer {
    let mut answer = plain(StatusCode::OK, kind, body);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    with(answer, ACCESS_CONTROL_ALLOW_ORIGIN, "*")
}

/// Sends a browser on, by GET. `to` is ours or was registered.
pub fn see_other(to: &str) -> Answer {
    with(plain(StatusCode::SEE_OTHER, "text/plain", String::new()), LOCATION, to)
}

/// The same answer, setting a cookie that only we get, and no script; an empty value takes it away.
pub fn with_cookie(answer: Answer, name: &str, value: &str) -> Answer {
    let age = if value.is_empty() { "; Max-Age=0" } else { "" };
    with(answer, SET_COOKIE, &format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}"))
}

/// The same answer, saying how to prove oneself.
pub fn challenge(answer: Answer, how: &str) -> Answer {
    with(answer, WWW_AUTHENTICATE, how)
}

fn plain(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let fixed = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: it would make the Origin of our own forms `null`.
        (REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in fixed {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn with(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    let value = HeaderValue::from_str(value).expect("what we say in headers is ASCII");
    answer.headers_mut().append(name, value);
    answer
}
