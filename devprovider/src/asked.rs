//! One request as the endpoints read it: parameters, cookies, and who claims to send it.
//! Always true: what stands there twice, where once is right, counts as absent.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, ORIGIN},
};

use crate::{
    form::{Form, decode},
    ticket::is_ticket,
};

/// Longer than any query of an honest client.
const MAX_QUERY: usize = 8192;

/// Why a request cannot be read; the client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Its query is too long.
    #[error("The address is too long.")]
    Long,
    /// Its body is no form.
    #[error("Send application/x-www-form-urlencoded.")]
    NoForm,
    /// Its parameters are no use.
    #[error("A parameter is there twice, or there are too many. This is the application's fault.")]
    Parameters,
}

impl Unreadable {
    /// The answer's status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Long => StatusCode::URI_TOO_LONG,
            Self::NoForm => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Parameters => StatusCode::BAD_REQUEST,
        }
    }
}

/// A request.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The query of a GET, the body of a POST.
    pub form: Form,
    /// In seconds since 1970.
    pub now: u64,
    headers: &'a HeaderMap,
}

impl<'a> Asked<'a> {
    /// Reads it.
    pub fn read(request: &'a Request<String>, now: u64) -> Result<Self, Unreadable> {
        let query = request.uri().query().unwrap_or_default();
        if query.len() > MAX_QUERY {
            return Err(Unreadable::Long);
        }
        let headers = request.headers();
        let text = if request.method() == Method::POST {
            only(headers, &CONTENT_TYPE).filter(|kind| is_form(kind)).ok_or(Unreadable::NoForm)?;
            request.body()
        } else {
            query
        };
        let form = Form::parse(text).ok_or(Unreadable::Parameters)?;
        Ok(Self { form, now, headers })
    }

    /// Whether it was meant for this host.
    pub fn is_for(&self, authority: &str) -> bool {
        only(self.headers, &HOST) == Some(authority)
    }

    /// Whether a page of somebody else's sent it, as far as the browser says so.
    pub fn is_foreign(&self, issuer: &str) -> bool {
        let site = self.headers.get("sec-fetch-site").map(|site| site.as_bytes());
        let origin = self.headers.get(ORIGIN).map(|origin| origin.as_bytes());
        site.is_some_and(|site| site != b"same-origin") || origin.is_some_and(|o| o != issuer.as_bytes())
    }

    /// A cookie of ours.
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        let texts = self.headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
        let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut ours = pairs.filter(|(of, _)| *of == name).map(|(_, value)| value);
        match (ours.next(), ours.next()) {
            (Some(value), None) => Some(value).filter(|value| is_ticket(value)),
            (_, Some(_)) | (None, None) => None,
        }
    }

    /// A bearer token (RFC 6750).
    pub fn bearer(&self) -> Option<&'a str> {
        only(self.headers, &AUTHORIZATION)?.strip_prefix("Bearer ")
    }

    /// Whether there is an Authorization header at all.
    pub fn has_authorization(&self) -> bool {
        self.headers.contains_key(AUTHORIZATION)
    }

    /// Client id and secret by HTTP Basic (RFC 6749, 2.3.1).
    pub fn basic(&self) -> Option<(String, String)> {
        let encoded = only(self.headers, &AUTHORIZATION)?.strip_prefix("Basic ")?;
        let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((decode(id)?, decode(secret)?))
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(value), None) => value.to_str().ok(),
        (_, Some(_)) | (None, None) => None,
    }
}

fn is_form(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(text: &str) -> Option<String> {
        let request = Request::builder().header(COOKIE, text).body(String::new()).unwrap();
        Asked::read(&request, 0).unwrap().cookie("__Host-a").map(str::to_owned)
    }

    #[test]
    fn a_cookie_is_a_ticket_and_there_once() {
        let (a, b) = ("a".repeat(43), "b".repeat(43));
        assert_eq!(cookie(&format!("x=1; __Host-a={a}; y=2")), Some(a.clone()));
        assert_eq!(cookie(&format!("__Host-a={a}; __Host-a={b}")), None);
        assert_eq!(cookie("__Host-a=short"), None);
        assert_eq!(cookie(&format!("a={a}")), None);
    }

    #[test]
    fn a_foreign_page_is_seen_by_what_the_browser_says() {
        for (name, value, foreign) in [
            ("origin", "https://idp.example", false),
            ("origin", "null", true),
            ("origin", "https://evil.example", true),
            ("sec-fetch-site", "same-origin", false),
            ("sec-fetch-site", "same-site", true),
            ("sec-fetch-site", "cross-site", true),
            ("x-other", "1", false),
        ] {
            let request = Request::builder().header(name, value).body(String::new()).unwrap();
            let asked = Asked::read(&request, 0).unwrap();
            assert_eq!(asked.is_foreign("https://idp.example"), foreign, "{name}: {value}");
        }
    }
}
