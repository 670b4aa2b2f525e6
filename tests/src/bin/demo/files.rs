//! The files of the demo's company, as an operator would write them.
//! It writes none. Always true: whatever differs from run to run is an argument.

use std::net::{IpAddr, SocketAddr};

use protocol::time::Timestamp;

use crate::net::Net;

/// `doorward.toml`: `resolvers` are asked for names that are not the company's.
pub fn gateway(net: &Net, resolvers: &[IpAddr]) -> String {
    let Net { endpoint, link, login, .. } = net;
    let apps = apps(net);
    let resolvers: Vec<String> =
        resolvers.iter().map(|ip| format!("\"{}\"", SocketAddr::new(*ip, 53))).collect();
    let resolvers = resolvers.join(", ");
    format!(
        r#"[gateway]
endpoint = "{endpoint}"          # what devices dial
listen = ["{endpoint}"]          # WireGuard
private_key = "gateway.key"
state = "state"

[store]
key = "store.key"

[policy]
dir = "policies"

[tunnel]
v4 = "100.64.0.0/16"
v6 = "fd00:d00:d00::/48"

[dns]
zones = ["corp.example"]
resolvers = [{resolvers}]

[[provider]]                             # who signs people in
name = "corp"
label = "Corp SSO"
issuer = "https://login.corp.example"
client_id = "doorward"
client_secret = "corp.secret"
ca = "login/ca.pem"
scopes = ["email", "profile", "groups", "offline_access"]
domains = ["corp.example"]
groups = ["*"]
through_tunnel = ["login.corp.example"]  # people reach it nowhere else
site = "local"

[provider.dial]                          # nor does a resolver know it
"login.corp.example" = "{login}"

[local]                                  # what the gateway itself may dial
allow = ["{login}"]

[connectors]
listen = ["{link}"]              # QUIC
private_key = "link.key"

[[site]]
name = "cellar"
{apps}"#
    )
}

fn apps(Net { wiki, db, .. }: &Net) -> String {
    format!(
        r#"
[[app]]
name = "wiki"
site = "cellar"
kind = "http"
hosts = ["wiki.corp.example"]
upstream = "http://{wiki}"

[[app]]
name = "admin"
site = "cellar"
kind = "http"
hosts = ["admin.corp.example"]
upstream = "http://{wiki}"

[[app]]
name = "db"
site = "cellar"
kind = "tcp"
hosts = ["db.corp.example"]
ports = [{port}]
target = "{ip}"
"#,
        port = db.port(),
        ip = db.ip(),
    )
}

/// `policies/guard-disk.cedar`: a condition on everything, whoever asks.
pub const GUARD: &str = r#"@id("guard-disk")
@reason("Disk encryption is off, or nothing has confirmed it in the last day")
@advice("Turn on FileVault, BitLocker or LUKS, then report the device's state again")
forbid (principal, action in Doorward::Action::"access", resource)
when { resource.sensitivity >= 2 }
unless {
  context has device && context.device has disk_encrypted && context.device.disk_encrypted.value &&
  context.now.durationSince(context.device.disk_encrypted.at) < duration("24h")
};
"#;

/// `policies/wiki.cedar`.
pub const WIKI: &str = r#"@id("engineers-wiki")
@title("Engineers read and edit the wiki")
permit (
  principal in Doorward::Group::"corp/engineering",
  action in [Doorward::Action::"http_read", Doorward::Action::"http_write"],
  resource == Doorward::App::"wiki"
);
"#;

/// `policies/admin.cedar`.
pub const ADMIN: &str = r#"@id("admins-console")
@title("Administrators open the console with a one-time code")
@advice("Sign in again, with your one-time code")
@step_up("acr=mfa")
permit (
  principal in Doorward::Group::"corp/admins",
  action in [Doorward::Action::"http_read", Doorward::Action::"http_write"],
  resource == Doorward::App::"admin"
) when {
  context has session && context.session has acr && context.session.acr == "mfa"
};
"#;

/// `browse`: what stands in for a browser.
pub const BROWSE: &str = include_str!("browse.sh");

/// `policies/db.cedar`: `when` says until when, or nothing.
pub fn db(until: Option<Timestamp>) -> String {
    let when =
        until.map(|until| format!("\nwhen {{ context.now < datetime(\"{until}\") }}")).unwrap_or_default();
    format!(
        r#"@id("engineers-db")
@title("Engineers reach the database")
permit (
  principal in Doorward::Group::"corp/engineering",
  action == Doorward::Action::"connect",
  resource == Doorward::App::"db"
){when};
"#
    )
}

/// `site/nginx.conf`: two apps that show who they were told is there.
pub fn nginx(wiki: SocketAddr) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path site/{kind}; "))
        .concat();
    let servers = server(wiki, "wiki", "The wiki") + &server(wiki, "admin", "The console");
    format!(
        r#"daemon off;
master_process off;
pid site/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  {temporary}
{servers}}}
"#
    )
}

fn server(listen: SocketAddr, name: &str, title: &str) -> String {
    format!(
        r#"  server {{
    listen {listen};
    server_name {name}.corp.example;
    default_type "text/html; charset=utf-8";
    location / {{
      return 200 '<!doctype html>
<title>{title}</title>
<meta name=viewport content="width=device-width">
<h1>{title}</h1>
<p>An ordinary web app on {listen}. What it was told of its visitor:
<pre>
X-Forwarded-User:   $http_x_forwarded_user
X-Forwarded-Email:  $http_x_forwarded_email
X-Forwarded-Groups: $http_x_forwarded_groups
</pre>
';
    }}
  }}
"#
    )
}
