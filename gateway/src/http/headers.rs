//! Which request headers are ours to write, and what we write into them.
//! It decides nothing. Always true: no spelling of a header of ours that a client sends reaches
//! the app; identity is what the decision was made for, once.

use std::{collections::BTreeSet, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::{Result, http::RequestHeader};
use policy::facts::User;
use protocol::id::GroupId;

use crate::config::IdentityHeaders;

/// Beginnings of header names by which apps are told who asks or what was asked for.
const OURS: [&str; 9] = [
    "x-forwarded",
    "x-original-",
    "x-rewrite-",
    "x-doorward-",
    "x-remote-",
    "x-auth-request-",
    "x-authenticated-",
    "x-webauth-",
    "x-envoy-",
];

/// The same, whole names. `proxy` becomes `HTTP_PROXY` in a CGI environment (httpoxy).
const OURS_EXACTLY: [&str; 14] = [
    "forwarded",
    "remote-user",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "true-client-ip",
    "x-cluster-client-ip",
    "cf-connecting-ip",
    "x-host",
    "x-url-scheme",
    "front-end-https",
    "x-request-id",
    "proxy",
    "via",
];

/// Headers by which some frameworks let a request change its method.
const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Headers that frame or route; under another spelling some servers take them for the real ones.
const FRAMING: [&str; 7] =
    ["content-length", "transfer-encoding", "host", "connection", "upgrade", "te", "trailer"];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What the app is told of a request, beside the request itself.
#[derive(Debug)]
pub struct Told {
    user: HeaderValue,
    email: Option<HeaderValue>,
    groups: Option<HeaderValue>,
    request_id: HeaderValue,
    source: HeaderValue,
    host: HeaderValue,
    scheme: HeaderValue,
}

impl Told {
    /// `None` if a value cannot be a header's; ids that were parsed always can.
    pub fn new(
        user: &User,
        request_id: &str,
        source: IpAddr,
        scheme: &'static str,
        authority: &str,
    ) -> Option<Self> {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).ok();
        let email = match &user.email {
            Some(email) => Some(value(email)?),
            None => None,
        };
        let groups = if user.groups.is_empty() { None } else { Some(value(&joined(&user.groups))?) };
        Some(Self {
            user: value(user.id.as_str())?,
            email,
            groups,
            request_id: value(request_id)?,
            source: value(&source.to_canonical().to_string())?,
            host: value(authority)?,
            scheme: HeaderValue::from_static(scheme),
        })
    }

    /// Removes every spelling of our headers and writes ours.
    pub fn write(&self, request: &mut RequestHeader, names: &IdentityHeaders) -> Result<()> {
        strip(request, names);
        let mut put =
            |name: &HeaderName, value: &HeaderValue| request.insert_header(name.clone(), value.clone());
        put(&names.user, &self.user)?;
        if let Some(email) = &self.email {
            put(&names.email, email)?;
        }
        if let Some(groups) = &self.groups {
            put(&names.groups, groups)?;
        }
        put(&REQUEST_ID, &self.request_id)?;
        put(&FORWARDED_FOR, &self.source)?;
        put(&FORWARDED_HOST, &self.host)?;
        put(&FORWARDED_PROTO, &self.scheme)?;
        put(&http::header::HOST, &self.host)
    }
}

/// Ids of groups hold no commas.
fn joined(groups: &BTreeSet<GroupId>) -> String {
    groups.iter().map(GroupId::as_str).collect::<Vec<_>>().join(",")
}

fn strip(request: &mut RequestHeader, names: &IdentityHeaders) {
    let identity = [&names.user, &names.email, &names.groups].map(|name| plain(name.as_str()));
    let ours: Vec<HeaderName> =
        request.headers.keys().filter(|name| is_ours(name.as_str(), &identity)).cloned().collect();
    for name in ours {
        request.remove_header(&name);
    }
}

fn is_ours(name: &str, identity: &[String]) -> bool {
    let plain = plain(name);
    OURS.iter().any(|start| plain.starts_with(start))
        || OURS_EXACTLY.contains(&plain.as_str())
        || OVERRIDES.contains(&plain.as_str())
        || identity.contains(&plain)
        || (FRAMING.contains(&plain.as_str()) && plain != name)
}

/// Whether the request carries a header by which some frameworks let it change its method.
pub fn overrides_method(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| OVERRIDES.contains(&plain(name.as_str()).as_str()))
}

/// One spelling for all: CGI, WSGI and PHP turn every character but letters and digits into the same one.
fn plain(name: &str) -> String {
    name.chars()
        .map(|part| if part.is_ascii_alphanumeric() { part.to_ascii_lowercase() } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(email: Option<&str>, groups: &[&str]) -> Told {
        let user = User {
            id: "corp/alice".parse().expect("an id"),
            groups: groups.iter().map(|group| group.parse().expect("an id")).collect(),
            email: email.map(str::to_owned),
            contract_end: None,
        };
        let source = "::ffff:100.64.0.9".parse().expect("an address");
        Told::new(&user, "r1", source, "https", "wiki.corp.example").expect("values")
    }

    fn sent(headers: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        for (name, value) in headers {
            request.append_header(*name, *value).expect("a header");
        }
        request
    }

    fn values<'a>(request: &'a RequestHeader, name: &str) -> Vec<&'a [u8]> {
        request.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
    }

    #[test]
    fn tells_the_app_who_asks_once() {
        let mut request =
            sent(&[("X-Forwarded-User", "corp/root"), ("x_forwarded_user", "corp/root"), ("Host", "x")]);
        told(Some("a@corp.example"), &["corp/dev", "corp/ops"])
            .write(&mut request, &IdentityHeaders::default())
            .expect("headers");
        assert_eq!(values(&request, "x-forwarded-user"), [b"corp/alice"]);
        assert_eq!(values(&request, "x-forwarded-email"), [b"a@corp.example"]);
        assert_eq!(values(&request, "x-forwarded-groups"), [b"corp/dev,corp/ops"]);
        assert_eq!(values(&request, "x-forwarded-for"), [b"100.64.0.9"]);
        assert_eq!(values(&request, "x-forwarded-proto"), [b"https"]);
        assert_eq!(values(&request, "host"), [b"wiki.corp.example"]);
        assert!(values(&request, "x_forwarded_user").is_empty());
    }

    #[test]
    fn absent_facts_are_absent_even_if_the_client_sends_them() {
        let mut request =
            sent(&[("X-Forwarded-Email", "root@corp.example"), ("X-Forwarded-Groups", "corp/root")]);
        told(None, &[]).write(&mut request, &IdentityHeaders::default()).expect("headers");
        assert!(values(&request, "x-forwarded-email").is_empty());
        assert!(values(&request, "x-forwarded-groups").is_empty());
    }

    #[test]
    fn knows_every_spelling() {
        let identity = ["remote-name".to_owned()];
        for name in [
            "remote-name",
            "remote_name",
            "remote.name",
            "forwarded",
            "x-forwarded-host",
            "x_forwarded-host",
            "x-original-url",
            "x-rewrite-url",
            "x-real-ip",
            "x_real_ip",
            "x-doorward-assertion",
            "proxy",
            "x-http-method-override",
            "x_http_method",
            "content_length",
            "transfer_encoding",
            "x-webauth-user",
        ] {
            assert!(is_ours(name, &identity), "{name}");
        }
        for name in
            ["content-length", "transfer-encoding", "host", "accept", "x-requested-with", "authorization"]
        {
            assert!(!is_ours(name, &identity), "{name}");
        }
    }

    #[test]
    fn sees_method_overrides() {
        assert!(overrides_method(&sent(&[("X_HTTP_Method-Override", "DELETE")]).headers));
        assert!(!overrides_method(&sent(&[("X-Requested-With", "x")]).headers));
    }
}
