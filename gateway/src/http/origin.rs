//! The cross-site guard: the tunnel is ambient authority, so a page of one site must not act on
//! another with the person's identity. Requests that say nothing of their origin pass (git, curl).
//! Always true: an upgrade or a write from a foreign page needs the app's `allow_origins`.

use http::{HeaderMap, HeaderName, HeaderValue, header};

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Why a request of another site is refused; `Display` is for the person who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrossSite {
    /// From another site, and not a navigation of the whole page.
    #[error("a page of another site asked for this; only following a link works across sites")]
    NotANavigation,
    /// From a sibling or another origin, and it may change something.
    #[error("a page of another origin asked for a change")]
    Unsafe,
    /// A WebSocket of another origin.
    #[error("a page of another origin asked for a WebSocket")]
    Upgrade,
}

/// What the guard looks at.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// As it was sent.
    pub method: &'a str,
    /// Asks for another protocol.
    pub upgrade: bool,
    /// Carries a header that changes the method in some frameworks.
    pub overridden: bool,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The origin of the app as this request names it, in lower case.
    pub own: &'a str,
    /// Foreign origins that the app takes requests of.
    pub allow: &'a [String],
}

/// What a browser says of the asking page's site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Site {
    Silent,
    Own,
    Sibling,
    /// Also whatever is said unclearly.
    Foreign,
}

/// What the Origin header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Silent,
    Own,
    Allowed,
    Foreign,
}

/// Refuses what another site's page must not do.
pub fn guard(asked: &Asked<'_>) -> Result<(), CrossSite> {
    let (site, origin) = (asked.site(), asked.origin());
    if origin == Origin::Allowed {
        return Ok(());
    }
    if asked.upgrade && origin == Origin::Foreign {
        return Err(CrossSite::Upgrade);
    }
    if site == Site::Foreign && !asked.is_navigation() {
        return Err(CrossSite::NotANavigation);
    }
    if asked.may_write() && (site == Site::Sibling || origin == Origin::Foreign) {
        return Err(CrossSite::Unsafe);
    }
    Ok(())
}

/// Whether a browser asks for a whole page, to be led elsewhere if need be.
pub fn navigates(method: &str, headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, value: &[u8]| headers.get(name).map(HeaderValue::as_bytes) == Some(value);
    let silent = [&SITE, &MODE, &DEST].iter().all(|name| !headers.contains_key(*name));
    // Of browsers that do not say so (Safari before 16.4): what scripts ask for takes anything.
    let old = silent
        && !headers.contains_key("x-requested-with")
        && !headers.contains_key(header::ORIGIN)
        && headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/html"));
    matches!(method, "GET" | "HEAD") && (old || (is(&MODE, b"navigate") && is(&DEST, b"document")))
}

impl Asked<'_> {
    fn site(&self) -> Site {
        match self.said(&SITE) {
            None => Site::Silent,
            Some(b"same-origin" | b"none") => Site::Own,
            Some(b"same-site") => Site::Sibling,
            Some(_) => Site::Foreign,
        }
    }

    fn origin(&self) -> Origin {
        let mut origins = self.headers.get_all(header::ORIGIN).iter();
        match (origins.next().map(HeaderValue::as_bytes), origins.next()) {
            (None, _) => Origin::Silent,
            // What forms of a page say that sends no referrer (Fetch, "append a request Origin header"). The
            // browser itself vouches for where such a form stands; that of an opaque origin is cross-site.
            (Some(b"null"), None) if self.said(&SITE) == Some(b"same-origin") => Origin::Own,
            (Some(origin), None) if origin.eq_ignore_ascii_case(self.own.as_bytes()) => Origin::Own,
            (Some(origin), None) if self.allows(origin) => Origin::Allowed,
            (Some(_), _) => Origin::Foreign,
        }
    }

    fn allows(&self, origin: &[u8]) -> bool {
        self.allow.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin))
    }

    fn is_navigation(&self) -> bool {
        matches!(self.method, "GET" | "HEAD")
            && !self.upgrade
            && !self.overridden
            && self.said(&MODE) == Some(b"navigate")
            && self.said(&DEST) == Some(b"document")
    }

    fn may_write(&self) -> bool {
        self.overridden || self.upgrade || !matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }

    /// The one value of a header; several, which no browser sends, count as something unknown.
    fn said(&self, name: &HeaderName) -> Option<&[u8]> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next()?.as_bytes();
        Some(if values.next().is_some() { b"?" } else { first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "http://wiki.corp.example";
    const FRIEND: &str = "https://portal.corp.example";

    fn asked(method: &str, headers: &[(&'static str, &'static str)]) -> Result<(), CrossSite> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let upgrade = map.contains_key(header::UPGRADE);
        let overridden = map.contains_key("x-http-method-override");
        let allow = [FRIEND.to_owned()];
        guard(&Asked { method, upgrade, overridden, headers: &map, own: OWN, allow: &allow })
    }

    #[test]
    fn git_and_curl_pass() {
        for method in ["GET", "POST", "PUT", "DELETE", "PROPFIND"] {
            assert_eq!(asked(method, &[]), Ok(()));
        }
        assert_eq!(asked("GET", &[("upgrade", "websocket")]), Ok(()));
    }

    #[test]
    fn the_apps_own_pages_pass() {
        let own = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"), ("origin", OWN)];
        for method in ["GET", "POST", "DELETE"] {
            assert_eq!(asked(method, &own), Ok(()));
        }
        assert_eq!(asked("GET", &[("upgrade", "websocket"), ("origin", OWN)]), Ok(()));
        assert_eq!(asked("GET", &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")]), Ok(()));
    }

    /// `Referrer-Policy: no-referrer`, which many frameworks send.
    #[test]
    fn a_form_of_an_own_page_without_referrer_passes() {
        let form = |site| asked("POST", &[("sec-fetch-site", site), ("origin", "null")]);
        assert_eq!(form("same-origin"), Ok(()));
        assert_eq!(form("same-site"), Err(CrossSite::Unsafe));
        assert_eq!(form("none"), Err(CrossSite::Unsafe));
        assert_eq!(form("cross-site"), Err(CrossSite::NotANavigation));
    }

    #[test]
    fn a_link_from_another_site_works_and_nothing_else() {
        let from = |mode, dest| {
            [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)]
        };
        assert_eq!(asked("GET", &from("navigate", "document")), Ok(()));
        assert_eq!(asked("HEAD", &from("navigate", "document")), Ok(()));
        for (method, mode, dest) in [
            ("GET", "no-cors", "image"),
            ("GET", "cors", "empty"),
            ("GET", "navigate", "iframe"),
            ("GET", "navigate", "object"),
            ("GET", "websocket", "websocket"),
            ("POST", "navigate", "document"),
            ("OPTIONS", "cors", "empty"),
            ("DELETE", "cors", "empty"),
        ] {
            let found = asked(method, &from(mode, dest));
            assert_eq!(found, Err(CrossSite::NotANavigation), "{method} {mode} {dest}");
        }
    }

    #[test]
    fn siblings_may_read_but_not_write() {
        let sibling = [
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-mode", "cors"),
            ("origin", "http://x.corp.example"),
        ];
        assert_eq!(asked("GET", &sibling), Ok(()));
        assert_eq!(asked("POST", &sibling), Err(CrossSite::Unsafe));
        assert_eq!(asked("POST", &[("sec-fetch-site", "same-site")]), Err(CrossSite::Unsafe));
    }

    #[test]
    fn a_foreign_origin_alone_is_enough() {
        for origin in
            ["http://evil.example", "null", "http://wiki.corp.example.evil", "http://wiki.corp.example:81"]
        {
            assert_eq!(asked("POST", &[("origin", origin)]), Err(CrossSite::Unsafe), "{origin}");
            assert_eq!(asked("GET", &[("origin", origin)]), Ok(()), "{origin}");
            let socket = [("origin", origin), ("upgrade", "websocket")];
            assert_eq!(asked("GET", &socket), Err(CrossSite::Upgrade), "{origin}");
            let hidden = [("origin", origin), ("x-http-method-override", "DELETE")];
            assert_eq!(asked("GET", &hidden), Err(CrossSite::Unsafe), "{origin}");
        }
    }

    #[test]
    fn named_origins_pass_and_unclear_words_do_not() {
        let friend = [("sec-fetch-site", "cross-site"), ("origin", FRIEND)];
        assert_eq!(asked("POST", &friend), Ok(()));
        assert_eq!(asked("GET", &[("upgrade", "websocket"), ("origin", FRIEND)]), Ok(()));
        assert_eq!(asked("GET", &[("sec-fetch-site", "cosmic")]), Err(CrossSite::NotANavigation));
        let twice = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")];
        assert_eq!(asked("GET", &twice), Err(CrossSite::NotANavigation));
        assert_eq!(asked("POST", &[("origin", FRIEND), ("origin", OWN)]), Err(CrossSite::Unsafe));
    }
}
