//! The processes that are measured: the gateway's end, and the connector if there is a link.
//! Always true: both are gone when dropped.

use std::{
    fmt, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path as File, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use ::tests::{
    programs,
    wait::eventually,
    wan::{Path, Wan},
};
use anyhow::{Context, Result, ensure};
use connector::key::LinkKey;

use crate::cpu::Watched;

/// How bytes go from the client to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Copied from one TCP connection to another by the gateway.
    Tcp,
    /// Over the link and a connector.
    Link,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP to TCP",
            Self::Link => "over the link",
        })
    }
}

/// Running, and ready to relay.
pub struct Ends {
    address: SocketAddr,
    gateway: Running,
    connector: Option<Running>,
    _wan: Option<Wan>,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ends {
    /// Starts them, with `path` between connector and gateway.
    pub fn start(way: Way, target: SocketAddr, path: Option<Path>) -> Result<Self> {
        let folder = PathBuf::from(::tests::sandbox::HOME);
        let files = (way == Way::Link).then(|| folder.join("link"));
        let (gateway, address) = gateway(target, files.as_deref())?;
        let Some(files) = files else {
            return Ok(Self { address, gateway, connector: None, _wan: None });
        };
        let link: SocketAddr = fs::read_to_string(files.join("address"))?.trim().parse()?;
        let wan =
            path.map(|path| Wan::start("127.0.0.1:0".parse()?, link, path).map_err(anyhow::Error::from));
        let wan = wan.transpose()?;
        let dialled = wan.as_ref().map_or(link, Wan::address);
        let connector = connect(&files, dialled, target)?;
        eventually("the connector's links", || files.join("linked").exists().then_some(()))?;
        Ok(Self { address, gateway, connector: Some(connector), _wan: wan })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time so far, of the gateway's end and of the connector.
    pub fn cpu(&self) -> Result<[Duration; 2]> {
        let used = |running: &Running| Watched::new(running.0.id())?.used();
        Ok([used(&self.gateway)?, self.connector.as_ref().map_or(Ok(Duration::ZERO), used)?])
    }
}

fn gateway(target: SocketAddr, files: Option<&File>) -> Result<(Running, SocketAddr)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["relay-gateway", "--target", &target.to_string()]);
    if let Some(files) = files {
        if files.exists() {
            fs::remove_dir_all(files)?;
        }
        fs::create_dir_all(files)?;
        command.arg("--link").arg(files);
    }
    let mut gateway = Running(command.stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    let said = gateway.0.stdout.take().context("the gateway's end says nothing")?;
    BufReader::new(said).read_line(&mut line)?;
    Ok((gateway, line.trim().parse().context("the gateway's end did not start")?))
}

fn connect(files: &File, gateway: SocketAddr, target: SocketAddr) -> Result<Running> {
    LinkKey::create(&files.join("connector.key"))?;
    let pin = fs::read_to_string(files.join("pin"))?;
    let config = files.join("connector.toml");
    let text = format!(
        "gateways = [\"{gateway}\"]\ngateway_key = \"{}\"\nprivate_key = \"connector.key\"\n\
         [targets]\nallow = [\"{target}\"]\n",
        pin.trim()
    );
    fs::write(&config, text)?;
    let mut command = Command::new(programs::ours("doorward-connector")?);
    command.args(["run", "--config"]).arg(config).env("RUST_LOG", "warn");
    Ok(Running(command.spawn()?))
}

/// Gives the sandbox's loopback an MTU.
pub fn loopback(mtu: u32) -> Result<()> {
    let done = Command::new("ip").args(["link", "set", "lo", "up", "mtu", &mtu.to_string()]).status()?;
    ensure!(done.success(), "cannot set the loopback's MTU");
    Ok(())
}
