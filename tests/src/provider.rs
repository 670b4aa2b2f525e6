//! The company's OpenID provider: a certified implementation (npm `oidc-provider`) on a host of its own,
//! with people in it and a test's hand on its faults, keys and sessions.
//! It knows nothing of Doorward; everybody's password is [`PASSWORD`], the subject is the login.
//! Always true: after `start` it answers, over https, with a certificate that only [`Provider::ca`] vouches for.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{authority::Authority, clock::Clock, host::Host, node, process::Process, programs};

/// What it is called, and where it is: `World::login`.
pub const ISSUER: &str = "https://10.77.0.5:9443";
/// Its address without a port.
const ADDRESS: &str = "10.77.0.5";
/// Opens everybody's account: `alice` (staff, admins), `bob` (staff), `carol` (contractors), `mallory`.
pub const PASSWORD: &str = "pw";

/// Who may send people to the provider, as registered there.
#[derive(Clone, Serialize)]
pub struct Client {
    /// Its id.
    #[serde(rename = "client_id")]
    pub id: String,
    /// Its secret.
    #[serde(rename = "client_secret")]
    pub secret: String,
    /// Where people may come back to.
    pub redirect_uris: Vec<String>,
    /// Where they may come back to after signing out.
    pub post_logout_redirect_uris: Vec<String>,
    /// Where it wants to hear of sessions that ended; only with it ID tokens carry `sid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backchannel_logout_uri: Option<String>,
}

impl Client {
    /// One that people come back to at `redirect_uri`, and nothing more.
    pub fn new(id: &str, secret: &str, redirect_uri: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            redirect_uris: vec![redirect_uri.to_owned()],
            post_logout_redirect_uris: Vec::new(),
            backchannel_logout_uri: None,
        }
    }
}

/// How a provider may differ from the usual one.
#[derive(Default)]
pub struct Setup {
    /// Its clients.
    pub clients: Vec<Client>,
    /// Seconds that things last, by the package's name: `AccessToken`, `IdToken`, `RefreshToken`, `Session`, …
    pub lifetimes: BTreeMap<&'static str, u64>,
    /// Whether it issues no refresh tokens.
    pub no_refresh: bool,
    /// Whether e-mail, name and groups are told by userinfo alone.
    pub thin: bool,
    /// Its clock at the start, seconds since 1970.
    pub clock: Option<u64>,
    /// The authority that vouches for the clients it calls (back-channel logout).
    pub trust: Option<PathBuf>,
    /// Where it finds names that no server of the world knows.
    pub hosts: BTreeMap<&'static str, &'static str>,
}

/// A request it got.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// What it answered, once it has.
    pub status: Option<u16>,
}

/// A running provider.
pub struct Provider {
    host: Host,
    process: Process,
    authority: Authority,
    clock: Option<Clock>,
}

impl Provider {
    /// Starts one on `host`, which is `World::login`, and waits until it listens.
    pub fn start(host: Host, setup: &Setup) -> Result<Self> {
        let folder = host.folder().join("provider");
        let authority = Authority::new(&folder, "provider-ca")?;
        let server = authority.issue(&[ADDRESS])?;
        let mut trust = fs::read_to_string(authority.pem())?;
        if let Some(file) = &setup.trust {
            trust += &fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        }
        let trusted = folder.join("trust.pem");
        fs::write(&trusted, trust)?;
        let settings = json!({
            "issuer": ISSUER,
            "certificate": server.certificate,
            "key": server.key,
            "clients": setup.clients,
            "lifetimes": setup.lifetimes,
            "refresh": !setup.no_refresh,
            "thin": setup.thin,
            "hosts": setup.hosts,
        });
        let script = node::script(&folder, "provider.mjs", include_str!("../provider/provider.mjs"))?;
        let clock = setup.clock.map(|unix| Clock::at(&host, unix)).transpose()?;
        let mut command = node_command(&host, clock.as_ref())?;
        command.arg(script).env("SETTINGS", settings.to_string()).env("NODE_EXTRA_CA_CERTS", &trusted);
        let process = host.start("provider", command)?;
        process.wait_for("provider ready")?;
        Ok(Self { host, process, authority, clock })
    }

    /// The authority that vouches for it.
    pub fn ca(&self) -> &Path {
        self.authority.pem()
    }

    /// The machine it runs on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What it says beside its answers.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Sets its clock, which it must have been started with.
    pub fn set_clock(&self, unix: u64) -> Result<()> {
        self.clock.as_ref().context("the provider lives by the machine's clock")?.set(unix)
    }

    /// Signs with new keys from now on; the old ones stay published.
    pub fn rotate_keys(&self) -> Result<()> {
        self.control("keys", &json!({ "drop": false })).map(drop)
    }

    /// Signs with new keys from now on, and publishes the old ones no longer.
    pub fn replace_keys(&self) -> Result<()> {
        self.control("keys", &json!({ "drop": true })).map(drop)
    }

    /// Shuts an account: no sign-in and no refresh any more.
    pub fn disable(&self, login: &str) -> Result<()> {
        self.change(login, &json!({ "disabled": true }))
    }

    /// Opens it again.
    pub fn enable(&self, login: &str) -> Result<()> {
        self.change(login, &json!({ "disabled": null }))
    }

    /// Forgets a person.
    pub fn remove(&self, login: &str) -> Result<()> {
        let known = self.control("remove", &json!({ "login": login }))?;
        ensure!(known == true, "the provider knows no {login}");
        Ok(())
    }

    /// Says other groups from now on.
    pub fn set_groups(&self, login: &str, groups: &[&str]) -> Result<()> {
        self.change(login, &json!({ "groups": groups }))
    }

    /// Says another e-mail address from now on, and whether it is verified.
    pub fn set_email(&self, login: &str, email: &str, verified: bool) -> Result<()> {
        self.change(login, &json!({ "email": email, "email_verified": verified }))
    }

    /// Changes any claims of a person, who may be new; null takes a claim away.
    pub fn change(&self, login: &str, claims: &Value) -> Result<()> {
        let mut body = claims.clone();
        body["login"] = json!(login);
        self.control("person", &body).map(drop)
    }

    /// Answers the next `times` requests for a path (`/token`, `/jwks`, `/me`, `/auth`,
    /// `/.well-known/openid-configuration`) with this status and `{"error": "server_error"}`.
    pub fn fault(&self, path: &str, status: u16, times: u32) -> Result<()> {
        self.fault_with(path, status, times, "server_error")
    }

    /// The same with an OAuth error of the test's choice.
    pub fn fault_with(&self, path: &str, status: u16, times: u32, error: &str) -> Result<()> {
        let fault = json!({ "path": path, "status": status, "times": times, "error": error });
        self.control("fault", &fault).map(drop)
    }

    /// Answers the next `times` requests for a path properly, but only after so many milliseconds.
    pub fn delay(&self, path: &str, milliseconds: u32, times: u32) -> Result<()> {
        let fault = json!({ "path": path, "status": 200, "times": times, "delay": milliseconds });
        self.control("fault", &fault).map(drop)
    }

    /// Does what it is asked at the next `times` requests for a path, but answers only after so many
    /// milliseconds: who does not wait has used up what it asked with.
    pub fn answer_late(&self, path: &str, milliseconds: u32, times: u32) -> Result<()> {
        let fault = json!({ "path": path, "status": 200, "times": times, "late": milliseconds });
        self.control("fault", &fault).map(drop)
    }

    /// No faults any more.
    pub fn clear_faults(&self) -> Result<()> {
        self.control("heal", &json!({})).map(drop)
    }

    /// Tells every client that knows a session of `sub` that it ended. What came of it, by client:
    /// `told`, `wants none`, or what went wrong.
    pub fn backchannel_logout(&self, sub: &str) -> Result<BTreeMap<String, String>> {
        Ok(serde_json::from_value(self.control("logout", &json!({ "sub": sub }))?)?)
    }

    /// The requests it got, in order; a test's own through the controls are not among them.
    pub fn requests(&self) -> Result<Vec<Request>> {
        Ok(serde_json::from_value(self.control("requests", &json!({}))?)?)
    }

    /// Every token, code and code verifier that a client had of it or showed it.
    pub fn secrets(&self) -> Result<Vec<String>> {
        Ok(serde_json::from_value(self.control("secrets", &json!({}))?)?)
    }

    /// How often it was asked for tokens.
    pub fn asked_for_tokens(&self) -> Result<usize> {
        Ok(self.requests()?.iter().filter(|request| request.path == "/token").count())
    }

    /// Ends it at once; nobody listens there any more.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// `curl` on the provider's host, which trusts it; no proxy, progress or configuration.
    pub fn curl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.host.command("curl")?;
        command.args(["--disable", "--silent", "--show-error", "--noproxy", "*", "--cacert"]);
        command.arg(self.ca()).args(arguments);
        self.host.expect_success(&command)
    }

    fn control(&self, name: &str, body: &Value) -> Result<Value> {
        let url = format!("{ISSUER}/_test/{name}");
        let answer = self.curl(&["--fail", "--json", &body.to_string(), &url])?;
        serde_json::from_str(&answer).with_context(|| format!("the provider's control {name} said {answer}"))
    }
}

fn node_command(host: &Host, clock: Option<&Clock>) -> Result<Command> {
    let Some(clock) = clock else { return host.unprivileged(programs::node()?) };
    let prefix = clock.prefix()?;
    let mut command = host.unprivileged(prefix.get_program())?;
    command.args(prefix.get_args()).arg(programs::node()?);
    Ok(command)
}
