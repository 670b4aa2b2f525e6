//! Keeps an app's cookies at the app's own host: a `Domain` would send them to its siblings too,
//! and let one app write another's session. It leaves everything else of a cookie as it is.

use http::{HeaderValue, header::SET_COOKIE};
use pingora::{Result, http::ResponseHeader};

/// Makes every cookie of a response host-only.
pub fn narrow(response: &mut ResponseHeader) -> Result<()> {
    let cookies: Vec<HeaderValue> = response.headers.get_all(SET_COOKIE).iter().cloned().collect();
    if !cookies.iter().any(|cookie| host_only(cookie.as_bytes()).is_some()) {
        return Ok(());
    }
    response.remove_header(&SET_COOKIE);
    for cookie in cookies {
        let narrowed = host_only(cookie.as_bytes()).and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
        response.append_header(SET_COOKIE, narrowed.unwrap_or(cookie))?;
    }
    Ok(())
}

/// The cookie without its `Domain`, or `None` if it has none. The first part is the cookie itself,
/// whatever it is called.
fn host_only(cookie: &[u8]) -> Option<Vec<u8>> {
    let mut parts = cookie.split(|byte| *byte == b';');
    let first = parts.next()?;
    let (domains, others): (Vec<_>, Vec<_>) = parts.partition(|part| is_domain(part));
    if domains.is_empty() {
        return None;
    }
    Some([&[first][..], &others].concat().join(&b';'))
}

fn is_domain(attribute: &[u8]) -> bool {
    let name = attribute.split(|byte| *byte == b'=').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"domain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_domain_off_and_nothing_else() {
        for (sent, kept) in [
            ("a=b; Domain=corp.example; Path=/", "a=b; Path=/"),
            ("a=b; Secure; dOmAiN = .corp.example", "a=b; Secure"),
            ("a=b;domain;HttpOnly", "a=b;HttpOnly"),
            ("a=b; Domain=x; Domain=y; Path=/", "a=b; Path=/"),
            ("domain=b; Domain=corp.example", "domain=b"),
        ] {
            assert_eq!(host_only(sent.as_bytes()).as_deref(), Some(kept.as_bytes()), "{sent}");
        }
        for untouched in ["a=b", "a=b; Path=/domain=; Secure", "domain=corp.example"] {
            assert_eq!(host_only(untouched.as_bytes()), None, "{untouched}");
        }
    }

    #[test]
    fn keeps_every_cookie_in_order() {
        let mut response = ResponseHeader::build(200, None).expect("a response");
        for cookie in ["a=1", "b=2; Domain=corp.example", "c=3"] {
            response.append_header(SET_COOKIE, cookie).expect("a header");
        }
        narrow(&mut response).expect("narrowed");
        let cookies: Vec<_> =
            response.headers.get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(cookies, [&b"a=1"[..], b"b=2", b"c=3"]);
    }
}
