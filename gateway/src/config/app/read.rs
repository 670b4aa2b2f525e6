//! Reads every `[[app]]` and checks it against the rest of the file and against the other apps.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    sync::Arc,
};

use http::{HeaderName, Method};
use policy::facts::App;
use protocol::{
    config::{Mistake, Section},
    id::{AppId, SiteId},
    target::{Host, Target, canonical},
};

use super::{AppKind, AppSpec, HttpSpec, IdentityHeaders, PathMode, TcpSpec};
use crate::config::{
    dns::Dns,
    site::Sites,
    text::{DnsName, is_under},
    tls::Tls,
    tunnel::{Part, Tunnel, explicit},
    unique::Unique,
};

/// What an app is checked against.
pub(in crate::config) struct Around<'a> {
    pub sites: &'a Sites,
    pub dns: Option<&'a Dns>,
    pub tunnel: Option<&'a Tunnel>,
    pub tls: &'a Tls,
}

/// What an app shares with no other.
#[derive(Default)]
struct Seen {
    names: Unique<AppId>,
    hosts: Unique<String>,
    addresses: Unique<Ipv4Addr>,
    /// Who stands at an address and port of a site: the line, and whether it is HTTP.
    targets: HashMap<(SiteId, IpAddr, u16), (usize, bool)>,
}

pub(in crate::config) fn read(
    s: &mut Section<'_>,
    around: &Around<'_>,
    warnings: &mut Vec<Mistake>,
) -> Vec<Arc<AppSpec>> {
    let mut seen = Seen::default();
    s.sections("app", |s| {
        let app = read_one(s, around, &mut seen, warnings)?;
        check_targets(s, &app, around, &mut seen, warnings);
        check_tls(s, &app, around.tls, warnings);
        Some(Arc::new(app))
    })
}

/// 2 of 1 to 4 unless it is said.
pub(in crate::config) fn read_sensitivity(s: &mut Section<'_>) -> u8 {
    s.int_or("sensitivity", 1..=4, 2)
}

fn read_one(
    s: &mut Section<'_>,
    around: &Around<'_>,
    seen: &mut Seen,
    warnings: &mut Vec<Mistake>,
) -> Option<AppSpec> {
    let id: Option<AppId> = s.text("name");
    if let Some(id) = &id {
        seen.names.claim(s, "name", id.clone());
    }
    let site = around.sites.take(s);
    let groups = s.texts_or_empty("groups").into_iter().collect();
    let sensitivity = read_sensitivity(s);
    let owners = s.optional_text("owners");
    let hosts = read_hosts(s, around.dns, seen);
    let address = explicit(s, "address", around.tunnel, Part::Apps);
    if let Some(address) = address {
        seen.addresses.claim(s, "address", address);
    }
    let (kind, ports) = read_kind(s, around.tunnel, warnings)?;
    Unique::default().claim_all(s, "ports", ports.iter());
    let facts = App { id: id?, site: site?, groups, sensitivity, owners, tags: BTreeMap::new() };
    Some(AppSpec { facts: Arc::new(facts), hosts, ports, kind, address })
}

fn read_hosts(s: &mut Section<'_>, dns: Option<&Dns>, seen: &mut Seen) -> Vec<String> {
    let hosts: Vec<String> = s.texts_or_empty::<DnsName>("hosts").into_iter().map(|host| host.0).collect();
    seen.hosts.claim_all(s, "hosts", hosts.iter().cloned());
    for (i, host) in hosts.iter().enumerate() {
        if let Some(dns) = dns.filter(|dns| !dns.zones.iter().any(|zone| is_under(host, zone))) {
            let reason = format!("{host} is under none of dns.zones: {}", dns.zones.join(", "));
            s.mistake(&format!("hosts[{i}]"), reason);
        }
    }
    hosts
}

#[derive(Clone, Copy)]
enum Kind {
    Http,
    Tcp,
}

const KINDS: [(&str, Kind); 2] = [("http", Kind::Http), ("tcp", Kind::Tcp)];
/// The ports that a browser leaves out.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;
const PATH_MODES: [(&str, PathMode); 2] = [("strict", PathMode::Strict), ("verbatim", PathMode::Verbatim)];
const HTTP_ONLY: [&str; 6] = ["upstream", "tls", "path", "read_methods", "allow_origins", "identity"];
const TCP_ONLY: [&str; 2] = ["target", "also_by_subnet"];

fn read_kind(
    s: &mut Section<'_>,
    tunnel: Option<&Tunnel>,
    warnings: &mut Vec<Mistake>,
) -> Option<(AppKind, Vec<u16>)> {
    let Some(kind) = s.choice("kind", &KINDS) else {
        // Without a kind it is not known which keys belong here: none of them is called unknown.
        for key in HTTP_ONLY.iter().chain(&TCP_ONLY).chain(&["ports"]) {
            s.has(key);
        }
        return None;
    };
    match kind {
        Kind::Http => {
            foreign(s, &TCP_ONLY, "tcp");
            if !s.has("hosts") || s.is_empty_list("hosts") {
                s.mistake("hosts", "an HTTP app needs at least one name");
            }
            let tls = s.flag_or("tls", true);
            let ports = s.ints_or("ports", 1..=u16::MAX, &[if tls { HTTPS } else { HTTP }]);
            no_ports(s);
            if tls && ports.contains(&HTTP) {
                s.mistake("ports", "port 80 leads to https by itself: leave it out, or write tls = false");
            }
            Some((AppKind::Http(read_http(s, tls, tunnel, warnings)?), ports))
        }
        Kind::Tcp => {
            foreign(s, &HTTP_ONLY, "http");
            let ports = s.ints("ports", 1..=u16::MAX);
            no_ports(s);
            let target: Option<Host> = s.text("target");
            if let Some(target) = &target {
                outside_tunnel(s, "target", target, tunnel);
            }
            let also_by_subnet = s.flag_or("also_by_subnet", false);
            Some((AppKind::Tcp(TcpSpec { target: target?, also_by_subnet }), ports?))
        }
    }
}

fn no_ports(s: &mut Section<'_>) {
    if s.is_empty_list("ports") {
        s.mistake("ports", "at least one port is needed");
    }
}

fn foreign(s: &mut Section<'_>, keys: &[&str], kind: &str) {
    for key in keys {
        if s.has(key) {
            s.mistake(key, format!("this key is for kind = \"{kind}\""));
        }
    }
}

fn read_http(
    s: &mut Section<'_>,
    tls: bool,
    tunnel: Option<&Tunnel>,
    warnings: &mut Vec<Mistake>,
) -> Option<HttpSpec> {
    let upstream: Option<Upstream> = s.text("upstream");
    if let Some(Upstream(upstream)) = &upstream {
        outside_tunnel(s, "upstream", &upstream.host, tunnel);
    }
    let path = s.optional_choice("path", &PATH_MODES).unwrap_or(PathMode::Standard);
    let read_methods: Vec<ReadMethod> = s.texts_or_empty("read_methods");
    for ReadMethod(method) in &read_methods {
        if ["POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
            warnings.push(s.at("read_methods", format!("whoever may read may also send {method} requests")));
        }
    }
    let origins: Vec<Origin> = s.texts_or_empty("allow_origins");
    let identity = s.optional_section("identity", |s| Some(read_identity(s))).unwrap_or_default();
    Some(HttpSpec {
        upstream: upstream?.0,
        tls,
        path,
        read_methods: read_methods.into_iter().map(|method| method.0).collect(),
        allow_origins: origins.into_iter().map(|origin| origin.0).collect(),
        identity,
    })
}

fn outside_tunnel(s: &mut Section<'_>, key: &str, host: &Host, tunnel: Option<&Tunnel>) {
    if let Host::Ip(ip) = host
        && tunnel.is_some_and(|tunnel| tunnel.contains(canonical(*ip)))
    {
        s.mistake(key, format!("{ip} is inside the tunnel: name the app's real address"));
    }
}

/// Headers that mean something else: with one of these an app would see a forged or broken request.
const TAKEN: [&str; 13] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "cookie",
    "authorization",
    "forwarded",
    "x-doorward-assertion",
];

fn read_identity(s: &mut Section<'_>) -> IdentityHeaders {
    let default = IdentityHeaders::default();
    let mut seen = Unique::default();
    let mut header = |key: &str, default: HeaderName| {
        let name = s.text_or(key, default);
        if TAKEN.contains(&name.as_str()) {
            s.mistake(key, format!("{name} has another meaning in HTTP: choose a name of its own"));
        }
        seen.claim(s, key, name.clone());
        name
    };
    IdentityHeaders {
        user: header("user", default.user),
        email: header("email", default.email),
        groups: header("groups", default.groups),
    }
}

/// Whether two apps stand in each other's way, and whether the gateway may dial a local one.
fn check_targets(
    s: &mut Section<'_>,
    app: &AppSpec,
    around: &Around<'_>,
    seen: &mut Seen,
    warnings: &mut Vec<Mistake>,
) {
    let (key, http) = match &app.kind {
        AppKind::Http(_) => ("upstream", true),
        AppKind::Tcp(_) | AppKind::Through(_) => ("target", false),
    };
    let line = s.at(key, "").line;
    for target in app.exact_targets().into_iter().flatten() {
        let place = (target.site.clone(), target.ip, target.port);
        match seen.targets.get(&place) {
            Some((_, true)) if http => {}
            Some((first, _)) => s.mistake(key, format!(
                "{} port {} at \"{}\" belongs to the app in line {first} already: a connection to it could mean either",
                target.ip, target.port, target.site
            )),
            None => {
                seen.targets.insert(place, (line, http));
            }
        }
        let rules = around.sites.local.as_ref().filter(|_| target.site.is_local());
        if let Some(Err(refusal)) = rules.map(|rules| rules.permits(target.ip, target.port, &[])) {
            warnings.push(s.at(key, format!("[local] does not allow it: {refusal}")));
        }
    }
}

/// Whether browsers trust what they are shown for an HTTP app.
fn check_tls(s: &mut Section<'_>, app: &AppSpec, tls: &Tls, warnings: &mut Vec<Mistake>) {
    let id = &app.facts.id;
    if matches!(&app.kind, AppKind::Http(http) if !http.tls) {
        let reason = format!(
            "{id} is reached over plain HTTP: browsers call it not secure, and it cannot keep Secure cookies"
        );
        warnings.push(s.at("tls", reason));
    }
    for host in app.hosts.iter().filter(|host| app.is_over_tls() && !tls.covers(host)) {
        let reason = format!(
            "no [[tls.certificate]] is for {host} of {id}, and tls.built_in is false: nobody can open it"
        );
        warnings.push(s.at("hosts", reason));
    }
}

/// `http://host[:port]`.
struct Upstream(Target);

impl FromStr for Upstream {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err("https:// upstreams are not supported yet: write http:// and let the connector stand next to the app".to_owned());
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Err("write it as http://<address or name>:<port>".to_owned());
        };
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.contains(['/', '?', '#']) {
            return Err("write only the host and port: paths are forwarded as they come".to_owned());
        }
        if host.contains('@') {
            return Err("a user name or password has no place here".to_owned());
        }
        let bare = !host.contains(':') || host.ends_with(']');
        let target = if bare { format!("{host}:80").parse() } else { host.parse::<Target>() };
        target.map(Self).map_err(|error| error.to_string())
    }
}

/// A method that may be declared to read.
struct ReadMethod(String);

impl FromStr for ReadMethod {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let method = Method::from_bytes(text.as_bytes()).map_err(|_| "this is no HTTP method")?;
        if method == Method::CONNECT || method == Method::TRACE {
            return Err("CONNECT and TRACE are never forwarded");
        }
        if method.as_str().bytes().any(|b| b.is_ascii_lowercase()) {
            return Err("methods are written in upper case");
        }
        Ok(Self(text.to_owned()))
    }
}

/// `scheme://host[:port]`, as browsers write it in `Origin` (RFC 6454 §6.2).
struct Origin(String);

impl FromStr for Origin {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str =
            "write it as browsers do: https://host or https://host:port, lower case, nothing after it";
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let default = match scheme {
            "https" => "443",
            "http" => "80",
            _ => return Err(FORM),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            Some(_) | None => (rest, None),
        };
        if port == Some(default) {
            return Err("browsers leave the default port out: leave it out here too");
        }
        let good_port =
            port.is_none_or(|port| port.parse::<u16>().is_ok_and(|n| n != 0 && n.to_string() == port));
        let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let good_host = match v6 {
            Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == ip),
            None => {
                host.parse::<Host>().is_ok_and(|parsed| parsed.to_string() == host && !host.contains(':'))
            }
        };
        if good_host && good_port { Ok(Self(text.to_owned())) } else { Err(FORM) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams() {
        for (text, target) in [
            ("http://10.0.0.1:8080", "10.0.0.1:8080"),
            ("http://wiki", "wiki:80"),
            ("http://wiki/", "wiki:80"),
            ("http://[fd00::1]", "[fd00::1]:80"),
            ("http://[fd00::1]:81", "[fd00::1]:81"),
        ] {
            assert_eq!(text.parse::<Upstream>().map(|u| u.0.to_string()), Ok(target.to_owned()), "{text}");
        }
        for bad in ["https://a", "wiki:80", "http://", "http://a/b", "http://u@a", "http://a:0", "http://a?b"]
        {
            assert!(bad.parse::<Upstream>().is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_do() {
        for good in
            ["https://portal.corp.example", "http://a:8080", "https://10.0.0.1", "https://[fd00::1]:8443"]
        {
            assert!(good.parse::<Origin>().is_ok(), "{good}");
        }
        for bad in [
            "portal",
            "https://A.example",
            "https://a/",
            "https://a:443",
            "ftp://a",
            "https://a:0",
            "*",
            "null",
            "https://u@a",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn methods() {
        assert!("PROPFIND".parse::<ReadMethod>().is_ok());
        for bad in ["propfind", "CONNECT", "TRACE", "", "A B"] {
            assert!(bad.parse::<ReadMethod>().is_err(), "{bad}");
        }
    }
}
