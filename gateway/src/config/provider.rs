//! Every `[[provider]]`: an OIDC provider, who we are to it, and for whom it may speak.
//! It asks nobody: `doorward admin provider check` does. Always true: empty means none, for e-mail
//! domains as for groups; all groups are written as `["*"]`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
};

use control::oidc::{Groups, GroupsAllowed, IdClaim, OURS, ProviderSpec, SpecError};
use policy::facts::App;
use protocol::{
    config::{Mistake, Section},
    id::{AppId, GroupId, ProviderId, SiteId},
    target::{Host, Target},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    AppKind, AppSpec, key_file,
    site::Sites,
    text::{DnsName, Socket},
    unique::Unique,
};

/// One `[[provider]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// How it is spoken to.
    pub spec: ProviderSpec,
    /// What people read where they choose.
    pub label: String,
    /// Where its secret was read.
    pub secret_file: Option<PathBuf>,
    /// Names of its own that devices reach through the tunnel, before anybody has signed in.
    pub through_tunnel: Vec<Arc<AppSpec>>,
}

/// What is asked for beside `openid`, unless it is said.
pub(super) const SCOPES: [&str; 3] = ["email", "profile", "offline_access"];
const ID_CLAIMS: [(&str, IdClaim); 2] = [("sub", IdClaim::Sub), ("oid", IdClaim::Oid)];
/// Microsoft's provider.
const ENTRA: &str = "https://login.microsoftonline.com/";
/// The port on which a provider's own names are reached.
const HTTPS: u16 = 443;

pub(super) fn read(s: &mut Section<'_>, sites: &Sites, warnings: &mut Vec<Mistake>) -> Vec<Provider> {
    let mut seen = Unique::default();
    s.sections("provider", |s| {
        let id: Option<ProviderId> = s.text("name");
        if let Some(id) = &id {
            seen.claim(s, "name", id.clone());
        }
        read_one(s, id, sites, warnings)
    })
}

fn read_one(
    s: &mut Section<'_>,
    id: Option<ProviderId>,
    sites: &Sites,
    warnings: &mut Vec<Mistake>,
) -> Option<Provider> {
    let issuer: Option<String> = s.text("issuer");
    let client_id: Option<String> = s.text("client_id");
    let secret_file = s.optional_path("client_secret");
    let label = s.optional_text("label");
    let client_secret = secret_file.as_ref().and_then(|file| {
        let secret = key_file::client_secret(file);
        secret.map_err(|error| s.mistake("client_secret", error.to_string())).ok()
    });
    let scopes: Vec<String> = s.texts_or_empty("scopes");
    let domains: Vec<DnsName> = s.texts_or_empty("domains");
    let authorize = s.optional_section("authorize", |s| Some(authorize(s))).unwrap_or_default();
    let groups = groups(s, warnings);
    let id_claim = s.optional_choice("id_claim", &ID_CLAIMS).unwrap_or(IdClaim::Sub);
    let usual = ProviderSpec::new(id.clone()?, issuer?, client_id?);
    let skew = s.duration_or("skew", usual.skew);
    let ca = s.optional_path("ca").and_then(|file| roots(s, &file));
    let dial = s.optional_section("dial", |s| Some(dial(s))).unwrap_or_default();
    let through_tunnel = through_tunnel(s, &usual.id, &dial, sites);
    let spec = ProviderSpec {
        client_secret,
        scopes: if s.has("scopes") { scopes } else { SCOPES.map(str::to_owned).to_vec() },
        authorize,
        domains: domains.into_iter().map(|domain| domain.0).collect(),
        groups,
        id_claim,
        skew,
        ca,
        dial,
        ..usual
    };
    if let Err(error) = control::oidc::Provider::new(spec.clone()) {
        s.mistake(key_of(&error), error.to_string());
    }
    if spec.issuer.starts_with(ENTRA) && !spec.domains.is_empty() {
        let reason = "Entra does not say that it verified an e-mail address (email_verified): none is taken over, and those that were typed in are forgotten";
        warnings.push(s.at("domains", reason));
    }
    let label = label.unwrap_or_else(|| spec.id.to_string());
    Some(Provider { spec, label, secret_file, through_tunnel })
}

/// Where the mistake stands.
fn key_of(error: &SpecError) -> &'static str {
    match error {
        SpecError::Issuer { .. } => "issuer",
        SpecError::ClientId(_) => "client_id",
        SpecError::ClientSecret(_) => "client_secret",
        SpecError::Skew(_) => "skew",
        SpecError::Roots { .. } => "ca",
    }
}

/// What some providers want to be asked with beside the standard: Google's `access_type = "offline"`.
fn authorize(s: &mut Section<'_>) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    for name in s.keys() {
        let value: Option<String> = s.text(&name);
        if OURS.contains(&name.as_str()) {
            s.mistake(&name, "this parameter is the gateway's own to write");
        } else if let Some(value) = value {
            parameters.insert(name, value);
        }
    }
    parameters
}

fn groups(s: &mut Section<'_>, warnings: &mut Vec<Mistake>) -> Groups {
    let named: Vec<String> = s.texts_or_empty("groups");
    let all = named.iter().any(|name| name == "*");
    if all && named.len() > 1 {
        s.mistake("groups", "\"*\" is all of them: write it alone, or name them one by one");
    }
    let claim = s.optional_text("groups_claim").unwrap_or_else(|| "groups".to_owned());
    let names = s.optional_section("group_names", |s| {
        let keys = s.keys();
        let named = keys.into_iter().filter_map(|key| {
            let group: GroupId = s.text(&key)?;
            Some((key, group))
        });
        Some(named.collect::<BTreeMap<_, _>>())
    });
    let names = names.unwrap_or_default();
    if named.is_empty() && names.is_empty() {
        let reason =
            "this provider may speak for no group: people are in those that an administrator put them in";
        warnings.push(s.at("groups", reason));
    }
    let named: BTreeSet<String> = named.into_iter().collect();
    let allowed = if all { GroupsAllowed::All } else { GroupsAllowed::Named(named) };
    Groups { claim, allowed, names }
}

fn roots(s: &mut Section<'_>, file: &std::path::Path) -> Option<Vec<CertificateDer<'static>>> {
    let read = || -> Result<Vec<_>, String> {
        let roots = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
        roots.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
    };
    match read() {
        Ok(roots) if !roots.is_empty() => Some(roots),
        Ok(_) => {
            s.mistake("ca", format!("{} holds no certificate in PEM", file.display()));
            None
        }
        Err(error) => {
            s.mistake("ca", format!("cannot read {}: {error}", file.display()));
            None
        }
    }
}

/// Where names of the provider's are, for who need not ask a resolver: split DNS, or none.
fn dial(s: &mut Section<'_>) -> BTreeMap<String, SocketAddr> {
    let mut places = BTreeMap::new();
    for key in s.keys() {
        let place: Option<Socket> = s.text(&key);
        match key.parse::<DnsName>() {
            Ok(name) => places.extend(place.map(|place| (name.0, place.0))),
            Err(error) => s.mistake(&key, error),
        }
    }
    places
}

/// Each name is an app of its own kind, so that it has an address in the tunnel and a name there.
fn through_tunnel(
    s: &mut Section<'_>,
    provider: &ProviderId,
    dial: &BTreeMap<String, SocketAddr>,
    sites: &Sites,
) -> Vec<Arc<AppSpec>> {
    let names: Vec<DnsName> = s.texts_or_empty("through_tunnel");
    if names.is_empty() {
        if s.has("site") {
            s.mistake("site", "this goes with through_tunnel, which is not there");
        }
        return Vec::new();
    }
    let Some(site) = sites.take(s) else { return Vec::new() };
    let placed = names.into_iter().enumerate().filter_map(|(n, DnsName(name))| {
        let target = match dial.get(&name) {
            Some(place) => Target { host: Host::Ip(place.ip()), port: place.port() },
            None => Target { host: name.parse().ok()?, port: HTTPS },
        };
        Some(passed_through(format!("provider-{provider}-{n}").parse().ok()?, name, target, &site))
    });
    placed.map(Arc::new).collect()
}

fn passed_through(id: AppId, host: String, target: Target, site: &SiteId) -> AppSpec {
    let facts = App {
        id,
        site: site.clone(),
        groups: BTreeSet::new(),
        sensitivity: 1,
        owners: None,
        tags: BTreeMap::new(),
    };
    let (facts, hosts, ports) = (Arc::new(facts), vec![host], vec![HTTPS]);
    AppSpec { facts, hosts, ports, kind: AppKind::Through(target), address: None }
}
