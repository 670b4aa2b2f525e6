//! A second OpenID provider (PyPI `oidc-provider-mock`), by other people and on another library, so that
//! what works with one of them is not mistaken for the standard.
//! It knows neither step-up nor logout by back channel; any client may use it, and a login is enough.
//! Always true: after `start` it answers, over https, with a certificate that only [`ProviderMock::ca`] vouches for.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::{authority::Authority, host::Host, process::Process, programs};

/// What it is called, and where it is: a host at 10.77.0.6.
pub const ISSUER: &str = "https://10.77.0.6:9444";
const ADDRESS: &str = "10.77.0.6";
const PORT: &str = "9444";

/// A running one.
pub struct ProviderMock {
    host: Host,
    _process: Process,
    authority: Authority,
}

impl ProviderMock {
    /// Starts one on `host`, which is `World::device("login2", 6)`.
    pub fn start(host: Host) -> Result<Self> {
        let authority = Authority::new(&host.folder().join("provider-mock"), "provider-mock-ca")?;
        let server = authority.issue(&[ADDRESS])?;
        let mut command = host.unprivileged(programs::provider_mock()?)?;
        command.args(["-B", "-m", "uvicorn", "--factory", "oidc_provider_mock:app", "--interface", "wsgi"]);
        command.args(["--host", ADDRESS, "--port", PORT, "--ssl-certfile"]).arg(server.certificate);
        command.arg("--ssl-keyfile").arg(server.key);
        let process = host.start("provider-mock", command)?;
        process.wait_for("Uvicorn running")?;
        Ok(Self { host, _process: process, authority })
    }

    /// The authority that vouches for it.
    pub fn ca(&self) -> &Path {
        self.authority.pem()
    }

    /// Says these claims of a person from now on.
    pub fn set(&self, sub: &str, claims: &Value) -> Result<()> {
        let (url, body) = (format!("{ISSUER}/users/{sub}"), claims.to_string());
        let json = "content-type: application/json";
        self.curl(&["--fail", "--request", "PUT", "--header", json, "--data", &body, &url]).map(drop)
    }

    /// `curl` on its host, which trusts it; no proxy, progress or configuration.
    pub fn curl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.host.command("curl")?;
        command.args(["--disable", "--silent", "--show-error", "--noproxy", "*", "--cacert"]);
        command.arg(self.ca()).args(arguments);
        self.host.expect_success(&command)
    }
}
