//! The configuration in force, written back as TOML for the start of a log: every default spelled
//! out, every secret hidden.

use std::{
    fmt::{Display, Write},
    sync::Arc,
};

use control::oidc::{GroupsAllowed, IdClaim};

use super::{AppKind, AppSpec, Audit, Config, Database, PathMode, Provider, Store, Tls};

/// A text that grows by sections and keys.
#[derive(Default)]
struct Toml(String);

impl Toml {
    fn section(&mut self, header: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.line(format_args!("{gap}{header}"));
    }

    fn key(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key} = {value}"));
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.key(key, quoted(value));
    }

    fn texts(&mut self, key: &str, values: impl IntoIterator<Item = impl Display>) {
        let all: Vec<String> = values.into_iter().map(quoted).collect();
        self.key(key, format_args!("[{}]", all.join(", ")));
    }

    fn secret(&mut self, key: &str, file: &std::path::Path) {
        self.line(format_args!("{key} = {} # (hidden)", quoted(file.display())));
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("writing to a String succeeds");
    }
}

/// Rust escapes quotes and backslashes as TOML does; it differs for control characters, which only a
/// path can hold.
/// As a text in TOML.
pub(super) fn quoted(value: impl Display) -> String {
    format!("{:?}", value.to_string())
}

pub(super) fn text(config: &Config) -> String {
    let mut out = Toml::default();
    gateway(&mut out, config);
    places(&mut out, config);
    resources(&mut out, config);
    out.0
}

/// What gateways that share a store should have alike: what decisions and routes follow from.
pub(super) fn shared(config: &Config) -> String {
    let mut out = Toml::default();
    out.text("v4", config.tunnel.v4());
    out.text("v6", config.tunnel.v6());
    out.texts("zones", &config.dns.zones);
    out.texts("sites", &config.sites.names);
    resources(&mut out, config);
    out.0
}

fn resources(out: &mut Toml, config: &Config) {
    sign_in(out, config);
    for app in &config.apps {
        one_app(out, app);
    }
    for subnet in &config.subnets {
        out.section("[[subnet]]");
        out.text("name", &subnet.id);
        out.text("site", &subnet.site);
        out.text("cidr", subnet.cidr);
        out.key("sensitivity", subnet.sensitivity);
        out.texts("groups", &subnet.groups);
    }
}

/// What people sign in by.
fn sign_in(out: &mut Toml, config: &Config) {
    let Config { session, door, join, providers, .. } = config;
    out.section("[door]");
    out.text("name", &door.name);
    out.section("[session]");
    out.key("required", session.required);
    let spans = [
        ("lifetime", session.lifetime),
        ("idle", session.idle),
        ("refresh", session.refresh),
        ("unrefreshed", session.unrefreshed),
    ];
    for (key, span) in spans {
        out.text(key, format_args!("{}s", span.as_secs()));
    }
    if let Some(join) = join {
        out.section("[join]");
        out.text("name", &join.name);
        out.texts("listen", &join.listen);
    }
    providers.iter().for_each(|one| provider(out, one));
}

fn provider(out: &mut Toml, provider: &Provider) {
    let spec = &provider.spec;
    out.section("[[provider]]");
    out.text("name", &spec.id);
    out.text("label", &provider.label);
    out.text("issuer", &spec.issuer);
    out.text("client_id", &spec.client_id);
    if let Some(file) = &provider.secret_file {
        out.secret("client_secret", file);
    }
    out.texts("scopes", &spec.scopes);
    out.texts("domains", &spec.domains);
    match &spec.groups.allowed {
        GroupsAllowed::All => out.texts("groups", ["*"]),
        GroupsAllowed::Named(names) => out.texts("groups", names),
    }
    out.text("groups_claim", &spec.groups.claim);
    out.text("id_claim", if spec.id_claim == IdClaim::Oid { "oid" } else { "sub" });
    out.text("skew", format_args!("{}s", spec.skew.as_secs()));
    let names = |app: &Arc<AppSpec>| app.hosts.clone();
    out.texts("through_tunnel", provider.through_tunnel.iter().flat_map(names));
    if let Some(app) = provider.through_tunnel.first() {
        out.text("site", &app.facts.site);
    }
    if !spec.dial.is_empty() {
        out.section("[provider.dial]");
        for (name, place) in &spec.dial {
            out.text(&quoted(name), place);
        }
    }
    if !spec.authorize.is_empty() {
        out.section("[provider.authorize]");
        for (name, value) in &spec.authorize {
            out.text(&quoted(name), value);
        }
    }
    if !spec.groups.names.is_empty() {
        out.section("[provider.group_names]");
        for (name, group) in &spec.groups.names {
            out.text(&quoted(name), group);
        }
    }
}

fn gateway(out: &mut Toml, config: &Config) {
    let Config { gateway, health, policy, tunnel, dns, devices, .. } = config;
    out.section("[gateway]");
    out.text("endpoint", &gateway.endpoint);
    out.texts("listen", &gateway.listen);
    out.secret("private_key", &gateway.private_key_file);
    out.text("state", gateway.state.display());
    out.text("name", &gateway.name);
    if let Some(admins) = &gateway.admins {
        out.text("admins", admins);
    }
    out.text("namespace", gateway.namespace.as_str());
    if let Some(shards) = gateway.shards {
        out.key("shards", shards);
    }
    if !health.listen.is_empty() {
        out.section("[health]");
        out.texts("listen", &health.listen);
    }
    store(out, &config.store);
    audit(out, &config.audit);
    out.section("[policy]");
    out.text("dir", policy.dir.display());
    out.key("watch", policy.watch);
    out.section("[policy.zones]");
    for zone in &policy.zones {
        out.text(&zone.name, zone.tz);
    }
    out.section("[tunnel]");
    out.text("v4", tunnel.v4());
    out.text("v6", tunnel.v6());
    out.section("[dns]");
    out.texts("zones", &dns.zones);
    out.texts("resolvers", &dns.resolvers);
    out.section("[devices]");
    out.texts("routes", &devices.routes);
    if let Some(mtu) = devices.mtu {
        out.key("mtu", mtu);
    }
    self::tls(out, &config.tls);
}

fn tls(out: &mut Toml, tls: &Tls) {
    out.section("[tls]");
    out.key("built_in", tls.built_in);
    for certificate in &tls.certificates {
        out.section("[[tls.certificate]]");
        out.text("chain", certificate.chain().display());
        out.secret("key", certificate.key());
    }
}

fn store(out: &mut Toml, store: &Store) {
    out.section("[store]");
    out.secret("key", &store.key);
    match &store.database {
        Database::Own(file) => out.line(format_args!("# {}", file.display())),
        Database::Shared(shared) => {
            out.section("[store.postgres]");
            out.secret("url", &shared.url_file);
            if let Some(ca) = &shared.ca {
                out.text("ca", ca.display());
            }
            out.text("lease", format_args!("{}s", shared.lease.as_secs()));
        }
    }
}

fn audit(out: &mut Toml, audit: &Audit) {
    out.section("[audit]");
    if let Some(keep) = audit.keep_for {
        out.text("keep_for", format_args!("{}s", keep.as_secs()));
    }
    if let Some(otlp) = &audit.otlp {
        out.text("otlp", &otlp.endpoint);
        if let Some(ca) = &otlp.ca {
            out.text("otlp_ca", ca.display());
        }
    }
}

fn places(out: &mut Toml, config: &Config) {
    if let Some(listener) = &config.links {
        out.section("[connectors]");
        if let Some(endpoint) = &listener.endpoint {
            out.text("endpoint", endpoint);
        }
        out.texts("listen", &listener.listen);
        out.secret("private_key", &listener.private_key_file);
    }
    for site in &config.sites.names {
        out.section("[[site]]");
        out.text("name", site);
    }
    if let Some(rules) = &config.sites.local {
        out.section("[local]");
        out.texts("allow", &rules.allow);
    }
}

fn one_app(out: &mut Toml, app: &AppSpec) {
    if matches!(app.kind, AppKind::Through(_)) {
        // Stands with its provider.
        return;
    }
    out.section("[[app]]");
    out.text("name", &app.facts.id);
    out.text("site", &app.facts.site);
    out.texts("hosts", &app.hosts);
    out.key("ports", format_args!("{:?}", app.ports));
    if let Some(address) = app.address {
        out.text("address", address);
    }
    out.key("sensitivity", app.facts.sensitivity);
    out.texts("groups", &app.facts.groups);
    if let Some(owners) = &app.facts.owners {
        out.text("owners", owners);
    }
    match &app.kind {
        AppKind::Through(_) => {}
        AppKind::Tcp(tcp) => {
            out.text("kind", "tcp");
            out.text("target", &tcp.target);
            out.key("also_by_subnet", tcp.also_by_subnet);
        }
        AppKind::Http(http) => {
            out.text("kind", "http");
            out.text("upstream", format_args!("http://{}", http.upstream));
            out.key("tls", http.tls);
            match http.path {
                PathMode::Standard => {}
                PathMode::Strict => out.text("path", "strict"),
                PathMode::Verbatim => out.text("path", "verbatim"),
            }
            out.texts("read_methods", &http.read_methods);
            out.texts("allow_origins", &http.allow_origins);
            let id = &http.identity;
            let headers = [("user", &id.user), ("email", &id.email), ("groups", &id.groups)];
            let headers = headers.map(|(key, name)| format!("{key} = {}", quoted(name)));
            out.key("identity", format_args!("{{ {} }}", headers.join(", ")));
        }
    }
}
