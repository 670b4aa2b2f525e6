//! Where a person may be sent back to after signing in: an app of ours, or the door itself, and nowhere
//! else. It reads what came from outside. Always true: what is returned is built from our own names; of
//! what was asked for only the path and the query are taken over.

use http::{Uri, uri::Authority};

use crate::{
    config::{AppKind, AppSpec},
    snapshot::Snapshot,
};

/// Longer addresses lead to the door: they must fit into a cookie.
const LONGEST: usize = 1500;

/// The address to go back to; `None`: it is none of ours.
pub fn back(snapshot: &Snapshot, asked: &str) -> Option<String> {
    if asked.len() > LONGEST || !asked.bytes().all(is_plain) {
        return None;
    }
    let (scheme, rest) = asked.split_once("://")?;
    let end = rest.find('/')?;
    let (authority, path) = rest.split_at(end);
    // What a browser and this parser could read differently is refused.
    if path.starts_with("//") || authority.contains('@') {
        return None;
    }
    let uri: Uri = asked.parse().ok()?;
    let parsed = uri.authority().filter(|parsed| parsed.as_str() == authority)?;
    let known = origins(snapshot, parsed).any(|(secure, port)| {
        scheme == if secure { "https" } else { "http" } && port == port_of(parsed, secure)
    });
    known.then(|| format!("{scheme}://{}{path}", authority.to_ascii_lowercase()))
}

/// Printable, and nothing that browsers turn into something else.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'\\' | b'#' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^')
}

fn port_of(authority: &Authority, secure: bool) -> u16 {
    authority.port_u16().unwrap_or(if secure { 443 } else { 80 })
}

/// How and on which ports the name of `authority` is served.
fn origins<'s>(snapshot: &'s Snapshot, authority: &'s Authority) -> impl Iterator<Item = (bool, u16)> + 's {
    let host = authority.host().to_ascii_lowercase();
    let door = (host == snapshot.config().door.name).then_some((true, 443));
    let apps = snapshot.config().apps.iter().filter(move |app| app.hosts.contains(&host));
    door.into_iter().chain(apps.flat_map(|app| served(app)))
}

fn served(app: &AppSpec) -> Vec<(bool, u16)> {
    match &app.kind {
        AppKind::Http(http) => app.ports.iter().map(|port| (http.tls, *port)).collect(),
        AppKind::Tcp(_) | AppKind::Through(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Company;

    const APPS: &str = r#"
[[app]]
name = "wiki"
site = "local"
kind = "http"
hosts = ["wiki.corp.example"]
upstream = "http://127.0.0.1:8080"
ports = [443, 8443]
[[app]]
name = "old"
site = "local"
kind = "http"
hosts = ["old.corp.example"]
upstream = "http://127.0.0.1:8080"
tls = false
[[app]]
name = "db"
site = "local"
kind = "tcp"
hosts = ["db.corp.example"]
ports = [443]
target = "127.0.0.1"
"#;

    #[test]
    fn ours_are_gone_back_to() {
        let company = Company::new(APPS, "");
        let snapshot = company.snapshot(1);
        for good in [
            "https://wiki.corp.example/",
            "https://wiki.corp.example/a%20b/c?d=e&to=https://evil.example/",
            "https://wiki.corp.example:8443/x",
            "https://wiki.corp.example/a//b",
            "http://old.corp.example/x",
            "https://door.corp.example/",
        ] {
            assert_eq!(back(&snapshot, good).as_deref(), Some(good));
        }
        let loud = "https://WIKI.corp.example/A";
        assert_eq!(back(&snapshot, loud).as_deref(), Some("https://wiki.corp.example/A"));
    }

    /// Case H6: what oauth2-proxy and others were led astray by.
    #[test]
    fn nobody_is_sent_anywhere_else() {
        let company = Company::new(APPS, "");
        let snapshot = company.snapshot(1);
        for bad in [
            "",
            "/",
            "//evil.example/",
            "/\\evil.example/",
            "https:/wiki.corp.example/",
            "https:\\\\evil.example/",
            "https://evil.example/",
            "https://wiki.corp.example.evil.example/",
            "https://evil.example/wiki.corp.example/",
            "https://evilwiki.corp.example/",
            "https://wiki.corp.example@evil.example/",
            "https://evil.example#@wiki.corp.example/",
            "https://evil.example\\@wiki.corp.example/",
            "https://user:pass@wiki.corp.example/",
            "https://wiki.corp.example:1/",
            "https://wiki.corp.example:443@evil.example/",
            "https://wiki.corp.example",
            "https://wiki.corp.example?x=/",
            "https://wiki.corp.example//evil.example/",
            "https://wiki.corp.example/\\evil.example",
            "https://wiki.corp.example/%0d%0aSet-Cookie:x\r\nX: y",
            "https://wiki.corp.example/\t/evil",
            "https://wiki.corp.example/#frag",
            "http://wiki.corp.example/",
            "https://old.corp.example/",
            "https://db.corp.example/",
            "https://corp.example/",
            "https://wiki.corp.example./",
            "javascript://wiki.corp.example/%0aalert(1)",
            "data:text/html,https://wiki.corp.example/",
            "ftp://wiki.corp.example/",
            "https://[::1]/",
            "https://w\u{456}ki.corp.example/",
            " https://wiki.corp.example/",
        ] {
            assert_eq!(back(&snapshot, bad), None, "{bad:?}");
        }
        let long = format!("https://wiki.corp.example/{}", "a".repeat(LONGEST));
        assert_eq!(back(&snapshot, &long), None);
    }
}
