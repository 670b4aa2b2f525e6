//! A connector under test: `doorward-connector` on the site's host, with its files.
//! Who it is and what it may reach is decided in the gateway's files and in its own, here in one place.
//! Always true: it runs without any right unless the sandbox is told to be root.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{company::OUTSIDE, gateway::product, host::Host, process::Process};

/// What a connector of these tests may dial, unless a test says otherwise.
pub const TARGETS: &str = r#"["10.50.0.0/24", "fd50::/64"]"#;

/// Makes a link key in `file`; its pin.
pub fn make_key(host: &Host, file: &Path) -> Result<String> {
    let mut command = product(host, "doorward-connector")?;
    command.arg("keygen").arg("--out").arg(file);
    let said = host.expect_success(&command)?;
    let pin = said.split_whitespace().find(|word| word.starts_with("sha256:"));
    Ok(pin.with_context(|| format!("keygen printed no pin: {said}"))?.to_owned())
}

/// A connector's identity.
pub struct Connector {
    name: String,
    /// The pin the gateway knows it by.
    pub pin: String,
    /// Where it looks for gateways.
    pub gateways: Vec<&'static str>,
}

impl Connector {
    /// Makes its key.
    pub fn prepare(host: &Host, name: &str) -> Result<Self> {
        let folder = host.folder().join(name);
        fs::create_dir_all(&folder)?;
        let pin = make_key(host, &folder.join("connector.key"))?;
        Ok(Self { name: name.to_owned(), pin, gateways: vec![OUTSIDE] })
    }

    /// Starts it towards the gateway that has `gateway_pin`, with `targets` as its own rule.
    pub fn start(&self, host: &Host, gateway_pin: &str, targets: &str) -> Result<Process> {
        let file = host.folder().join(&self.name).join("connector.toml");
        let gateways: Vec<_> = self.gateways.iter().map(|gateway| format!("{gateway}:51821")).collect();
        let text = format!(
            "gateways = {gateways:?}\ngateway_key = \"{gateway_pin}\"\nprivate_key = \"connector.key\"\n\
             [targets]\nallow = {targets}\n"
        );
        fs::write(&file, text)?;
        let mut command = product(host, "doorward-connector")?;
        command.arg("run").arg("--config").arg(&file);
        Ok(host.start(&self.name, command)?.strict())
    }
}
