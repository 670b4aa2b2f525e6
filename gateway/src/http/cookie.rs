//! Keeps an app's cookies at the app's own host: a `Domain` would send them to its siblings too,
//! and let one app write another's session. What HTTP/2 took apart it puts together again.
//! It leaves everything else of a cookie as it is.

use http::{
    HeaderValue,
    header::{COOKIE, SET_COOKIE},
};
use pingora::{
    Result,
    http::{RequestHeader, ResponseHeader},
};

/// Makes one header of a request's cookies, as HTTP/1 needs it (RFC 9113 §8.2.3).
pub fn join(request: &mut RequestHeader) -> Result<()> {
    let cookies = request.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let cookies: Vec<&[u8]> = cookies.collect();
    let [_, _, ..] = cookies.as_slice() else { return Ok(()) };
    match HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        Ok(joined) => request.insert_header(COOKIE, joined),
        // Values that stood in headers can stand in one.
        Err(_) => Ok(()),
    }
}

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
    fn crumbs_become_one_cookie_header() {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        for crumb in ["a=1", "b=2; c=3", "d=4"] {
            request.append_header(COOKIE, crumb).expect("a header");
        }
        join(&mut request).expect("joined");
        let cookies: Vec<_> = request.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(cookies, [b"a=1; b=2; c=3; d=4"]);
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
