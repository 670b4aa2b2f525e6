//! A person's machine: a host with the stock WireGuard client, brought up by the stock `wg-quick`
//! from exactly the text the gateway hands out, with only the private key filled in.
//! It changes nothing else in that text.
//! Always true: a device that came up has shaken hands with the gateway.

use std::{
    fs,
    io::Read,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Output,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::{company::write_secret, host::Host, probe, wait::eventually};

/// A WireGuard key pair in the text form of `wg`.
#[derive(Clone)]
pub struct KeyPair {
    /// Kept on the device.
    pub private: String,
    /// Told to the gateway.
    pub public: String,
}

impl KeyPair {
    /// A fresh one.
    pub fn fresh() -> Result<Self> {
        let mut seed = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
        let secret = StaticSecret::from(seed);
        let public = STANDARD.encode(PublicKey::from(&secret).as_bytes());
        Ok(Self { private: STANDARD.encode(secret.to_bytes()), public })
    }
}

/// A stock client that is up.
pub struct Device {
    host: Host,
    file: PathBuf,
}

/// The name of the tunnel on a device.
const LINK: &str = "wg0";

impl Device {
    /// Brings the tunnel up and waits for the gateway's answer.
    pub fn up(host: Host, text: &str, key: &KeyPair, gateway: &str) -> Result<Self> {
        let device = Self::start(host, text, key)?;
        device.wait_until_connected(gateway)?;
        Ok(device)
    }

    /// Brings the tunnel up, whether or not the gateway answers.
    pub fn start(host: Host, text: &str, key: &KeyPair) -> Result<Self> {
        let file = host.folder().join(format!("{LINK}.conf"));
        write_config(&file, text, key)?;
        let device = Self { host, file };
        device.quick("up")?;
        Ok(device)
    }

    fn quick(&self, what: &str) -> Result<String> {
        let mut command = self.host.command("wg-quick")?;
        command.arg(what).arg(&self.file).env("WG_QUICK_USERSPACE_IMPLEMENTATION", "wireguard-go");
        self.host.expect_success(&command)
    }

    /// Ends the tunnel and brings it up anew, from another port.
    pub fn reconnect(&self, gateway: &str) -> Result<()> {
        self.restart()?;
        self.wait_until_connected(gateway)
    }

    /// The same, whether or not the gateway answers.
    pub fn restart(&self) -> Result<()> {
        self.quick("down")?;
        self.quick("up").map(drop)
    }

    /// Sends from another address and port from now on, without telling anybody.
    pub fn roam(&self, address: &str, port: u16) -> Result<()> {
        self.ip("address flush dev eth0 scope global")?;
        self.ip(&format!("address add {address} dev eth0"))?;
        self.host.sh("wg", &["set", LINK, "listen-port", &port.to_string()]).map(drop)
    }

    /// Waits until the gateway answers a ping through the tunnel.
    pub fn wait_until_connected(&self, gateway: &str) -> Result<()> {
        eventually(&format!("{} gets an answer through the tunnel", self.host.name()), || {
            self.host.sh("ping", &["-c", "1", "-W", "1", gateway]).ok().map(drop)
        })
    }

    /// The machine.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Connects through the tunnel.
    pub fn dial(&self, target: &str) -> Result<TcpStream> {
        probe::dial(&self.host, target).with_context(|| format!("{} dials {target}", self.host.name()))
    }

    /// How connecting through the tunnel fails.
    pub fn refusal(&self, target: &str) -> Result<std::io::ErrorKind> {
        probe::refusal(&self.host, target)
    }

    /// `curl` with arguments of the test's own, and no proxy, progress or configuration.
    pub fn curl(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.host.command("curl")?;
        command.args(["--disable", "--silent", "--show-error", "--noproxy", "*"]).args(arguments);
        self.host.run(&command)
    }

    /// The body of a page, which must come with a 2xx.
    pub fn page(&self, arguments: &[&str]) -> Result<String> {
        let output = self.curl(&[&["--fail"], arguments].concat())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "curl {arguments:?}: {} {said}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The status code of a page.
    pub fn code(&self, arguments: &[&str]) -> Result<u16> {
        let output =
            self.curl(&[&["--output", "/dev/null", "--write-out", "%{http_code}"], arguments].concat())?;
        let code = String::from_utf8_lossy(&output.stdout).into_owned();
        code.parse()
            .with_context(|| format!("curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// `ip` on the machine.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.host.ip(arguments)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Ends the client, which left our process group when it became a daemon. If it never came
        // up there is nothing to end.
        let _ = self.host.ip(&format!("link delete {LINK}"));
    }
}

/// Writes the text a person was handed, completed, into `file`.
pub fn write_config(file: &Path, text: &str, key: &KeyPair) -> Result<()> {
    write_secret(file, &with_private_key(text, key)?)
}

/// The text as the person completes it: by one line.
fn with_private_key(text: &str, key: &KeyPair) -> Result<String> {
    let mut filled = 0;
    let lines = text.lines().map(|line| {
        let is_key = line.split('=').next().is_some_and(|name| name.trim() == "PrivateKey");
        filled += usize::from(is_key);
        if is_key { format!("PrivateKey = {}\n", key.private) } else { format!("{line}\n") }
    });
    let text: String = lines.collect();
    ensure!(filled == 1, "one PrivateKey line expected, found {filled}:\n{text}");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_only_thing_filled_in() -> Result<()> {
        let key = KeyPair::fresh()?;
        let text = "[Interface]\nPrivateKey = (yours)\nMTU = 1420\n";
        let expected = format!("[Interface]\nPrivateKey = {}\nMTU = 1420\n", key.private);
        assert_eq!(with_private_key(text, &key)?, expected);
        assert!(with_private_key("[Interface]\n", &key).is_err());
        Ok(())
    }
}
