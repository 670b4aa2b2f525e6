//! The order in which every request is judged: is it for this app, is it framed clearly, does
//! another site's page ask, is its path clear, and only then what the policies say.
//! It reads a request and changes nothing of it.
//! Always true: what the policies were asked about is what [`Admitted`] forwards.

use std::sync::Arc;

use http::{HeaderMap, Method, Version, header};
use pingora::http::RequestHeader;
use policy::{decision::PolicyId, facts};
use protocol::{
    id::{AppId, DeviceId},
    time::Timestamp,
};

use super::{
    connection::Connection,
    head::{self, HeadError},
    headers::{self, Told},
    origin,
    path::{self, Path},
    refusal::Refusal,
    upstream::Attempt,
};
use crate::{
    access::Denied,
    config::{AppKind, AppSpec, HttpSpec},
    gate::{Gate, HttpQuestion, Passed},
    live::LiveGuard,
    reach::Speaks,
};

/// Who decides requests: the [`Gate`]; in tests, one that also writes down what it was asked.
pub trait Decides: Send + Sync {
    /// The app as the configuration in force has it.
    fn app(&self, id: &AppId) -> Option<Arc<AppSpec>>;
    /// Changes with every configuration.
    fn generation(&self) -> u64;
    /// Registers the request with its connection, then decides it.
    fn decide(&self, asked: HttpQuestion<'_>) -> Result<Passed, Denied>;
    /// Where the person signs in to get what was denied to this device, and then goes on to `to`; `None` if
    /// that would not help, or did not just now.
    fn sign_in(&self, device: &DeviceId, denied: &Denied, to: &str) -> Option<String>;
    /// Where a browser on the way to `to` passes by the provider, since the session ends soon.
    fn renewal(&self, device: &DeviceId, to: &str) -> Option<String>;
    /// Notes how a request that passed has ended; bytes from the device, and to it.
    fn ended(&self, id: &str, why: &str, sent: u64, received: u64);
}

impl Decides for Gate {
    fn app(&self, id: &AppId) -> Option<Arc<AppSpec>> {
        Self::app(self, id)
    }

    fn generation(&self) -> u64 {
        Self::generation(self)
    }

    fn decide(&self, asked: HttpQuestion<'_>) -> Result<Passed, Denied> {
        Self::decide(self, asked)
    }

    fn sign_in(&self, device: &DeviceId, denied: &Denied, to: &str) -> Option<String> {
        Self::sign_in(self, device, denied, to)
    }

    fn renewal(&self, device: &DeviceId, to: &str) -> Option<String> {
        Self::renewal(self, device, to)
    }

    fn ended(&self, id: &str, why: &str, sent: u64, received: u64) {
        Self::ended(self, id, why, sent, received);
    }
}

/// A request that may go to its app.
#[derive(Debug)]
pub struct Admitted {
    /// The app as it was configured when the request was decided.
    pub app: Arc<AppSpec>,
    /// The target as it goes out.
    pub forward: String,
    /// What the app is told.
    pub told: Told,
    /// Opens the app, once.
    pub attempt: Arc<Attempt>,
    /// Whether a tunnel is asked for.
    pub upgrade: bool,
}

/// What is known of a request when it is logged; filled as far as judging came.
#[derive(Debug, Default)]
pub struct Trail {
    /// Upper case.
    pub method: Option<String>,
    /// Without query, as forwarded.
    pub path: Option<String>,
    /// Who asks, once decided.
    pub user: Option<Arc<facts::User>>,
    /// The permits that matched.
    pub policies: Vec<PolicyId>,
    /// Until when the permission holds.
    pub until: Option<Timestamp>,
}

/// The host a request names.
struct Authority {
    /// Lower case, without port: a name of the app.
    name: String,
    /// With the port, if it is not the default one.
    whole: String,
}

/// A request and what it arrived on.
pub struct Asked<'a> {
    /// Its connection.
    pub connection: &'a Connection,
    /// Its head as parsed.
    pub request: &'a RequestHeader,
    /// Its head as it came.
    pub raw: &'a [u8],
    /// Its id.
    pub id: &'a str,
}

impl Asked<'_> {
    /// Judges the request. The guard keeps the decision registered.
    pub fn judge(&self, gate: &dyn Decides, trail: &mut Trail) -> Result<(Admitted, LiveGuard), Refusal> {
        let app = gate.app(self.connection.flow.app()).ok_or(Refusal::Misdirected)?;
        let AppKind::Http(http) = &app.kind else { return Err(Refusal::Misdirected) };
        let authority = self.authority(&app)?;
        head::check(self.raw, self.request.version == Version::HTTP_2).map_err(Refusal::Head)?;
        let method = self.method()?;
        trail.method = Some(method.to_owned());
        // Also on a connection from before a load that put the app behind TLS.
        if http.tls && self.connection.flow.speaks() != Speaks::Https {
            return Err(self.to_https(&app, http, &authority));
        }
        let upgrade = self.request.headers.contains_key(header::UPGRADE);
        let overridden = headers::overrides_method(&self.request.headers);
        self.guard_origin(http, &authority, upgrade, overridden)?;
        let path = path::read(self.request.raw_path(), http.path).map_err(Refusal::Path)?;
        trail.path = Some(path.as_str().to_owned());
        let write = upgrade || overridden || !reads(method, http);
        let question = self.question(method, &authority, &path, write);
        let (device, there) = (self.connection.flow.device(), self.address(&authority, &path));
        let navigates = !write && origin::navigates(method, &self.request.headers);
        if navigates && let Some(address) = gate.renewal(device, &there) {
            return Err(Refusal::Renew(address));
        }
        let passed = gate.decide(question).map_err(|denied| {
            match gate.sign_in(device, &denied, if navigates { &there } else { "" }) {
                Some(address) => Refusal::SignIn { denied, address, navigates },
                None => Refusal::Denied(denied),
            }
        })?;
        trail.user = Some(passed.user.clone());
        trail.policies = passed.policies;
        trail.until = passed.until;
        let source = self.connection.flow.source().ip();
        let scheme = self.connection.flow.speaks().scheme();
        let told = Told::new(&passed.user, self.id, source, scheme, &authority.whole);
        let told = told.ok_or(Refusal::Internal)?;
        let attempt = Arc::new(Attempt::new(passed.permit));
        let upgrade = upgrade && asks_for_websocket(&self.request.headers);
        Ok((Admitted { app, forward: path.forward, told, attempt, upgrade }, passed.guard))
    }

    /// What is asked for, as a browser would write it.
    fn address(&self, authority: &Authority, path: &Path) -> String {
        format!("{}://{}{}", self.connection.flow.speaks().scheme(), authority.whole, path.forward)
    }

    /// The host, if it is a name of the app that stands at this address.
    fn authority(&self, app: &AppSpec) -> Result<Authority, Refusal> {
        let host = host(self.request)?.to_ascii_lowercase();
        if host.is_empty() {
            return Err(Refusal::Head(HeadError::Host));
        }
        let here = self.connection.flow.local().port();
        let (name, port) = match host.split_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| Refusal::Misdirected)?),
            None => (host.as_str(), here),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        if port != here || !app.hosts.iter().any(|known| known == name) {
            return Err(Refusal::Misdirected);
        }
        let whole = if here == self.connection.flow.speaks().port() {
            name.to_owned()
        } else {
            format!("{name}:{here}")
        };
        Ok(Authority { name: name.to_owned(), whole })
    }

    /// Where the same is over TLS.
    fn to_https(&self, app: &AppSpec, http: &HttpSpec, authority: &Authority) -> Refusal {
        let path = match path::read(self.request.raw_path(), http.path) {
            Ok(path) => path.forward,
            Err(error) => return Refusal::Path(error),
        };
        let port = match app.ports.first() {
            Some(port) if !app.ports.contains(&Speaks::Https.port()) => format!(":{port}"),
            Some(_) | None => String::new(),
        };
        Refusal::ToHttps(format!("https://{}{port}{path}", authority.name))
    }

    fn method(&self) -> Result<&str, Refusal> {
        let method = &self.request.method;
        let known = !matches!(*method, Method::TRACE | Method::CONNECT);
        // Methods are case-sensitive; an app that folds them would do what was not decided.
        let upper = method
            .as_str()
            .bytes()
            .all(|letter| letter.is_ascii_uppercase() || matches!(letter, b'-' | b'_'));
        if known && upper { Ok(method.as_str()) } else { Err(Refusal::Method) }
    }

    fn guard_origin(
        &self,
        http: &HttpSpec,
        authority: &Authority,
        upgrade: bool,
        overridden: bool,
    ) -> Result<(), Refusal> {
        let scheme = self.connection.flow.speaks().scheme();
        let asked = origin::Asked {
            method: self.request.method.as_str(),
            upgrade,
            overridden,
            headers: &self.request.headers,
            own: &format!("{scheme}://{}", authority.whole),
            allow: &http.allow_origins,
        };
        origin::guard(&asked).map_err(Refusal::CrossSite)
    }

    fn question<'q>(
        &'q self,
        method: &'q str,
        authority: &'q Authority,
        path: &'q Path,
        write: bool,
    ) -> HttpQuestion<'q> {
        HttpQuestion {
            id: self.id,
            front: &self.connection.flow,
            write,
            method,
            host: &authority.name,
            paths: &path.readings,
        }
    }
}

/// What a request calls its host: its authority in HTTP/2, where a Host beside it says the same (pingora
/// refuses any other); else its one Host header.
pub fn host(request: &RequestHeader) -> Result<&str, Refusal> {
    if let Some(authority) = request.uri.authority().filter(|_| request.version == Version::HTTP_2) {
        return Ok(authority.as_str());
    }
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Refusal::Head(HeadError::Host));
    };
    host.to_str().map_err(|_| Refusal::Misdirected)
}

fn reads(method: &str, http: &HttpSpec) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS") || http.read_methods.iter().any(|read| read == method)
}

/// The only upgrade that pingora carries out; others go on as plain requests, decided as writes.
fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
