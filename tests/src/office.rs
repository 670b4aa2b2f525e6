//! A company whose people sign in: a scene with a real provider that the gateway trusts.
//! It signs nobody in; a [`Person`](crate::person::Person) or a browser does.
//! Always true: after `open` the provider answers, and the gateway's files name it.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    company::{DESK, ECHO, GATEWAY, Machine, write_secret},
    device::Device,
    gateway::product,
    probe::echo,
    provider::{Client, ISSUER, Provider, Setup},
    scene::{Plan, Scene},
    wait::eventually,
};

/// The portal.
pub const DOOR: &str = "https://door.corp.example";
/// An app, over TLS.
pub const WIKI_PAGE: &str = "https://wiki.corp.example/";
/// An app that staff reach by no rule of their own.
pub const VAULT_PAGE: &str = "https://vault.corp.example/";
/// How we are called at the provider.
const CLIENT: &str = "doorward";
/// What we show it.
pub const SECRET: &str = "gateway-secret-of-the-tests";

/// A scene and its provider.
pub struct Office {
    /// The gateway and everything around it.
    pub scene: Scene,
    /// Who signs people in.
    pub provider: Provider,
    /// How far both clocks are ahead of the machine's, if they are theirs.
    ahead: Option<u64>,
}

/// How an office may differ from the usual one.
pub struct Opening {
    /// The scene; people must sign in unless the company says otherwise.
    pub plan: Plan,
    /// The provider; our client is added to it.
    pub setup: Setup,
    /// Where the provider tells us that sessions ended.
    pub backchannel: Option<String>,
    /// Lines of the `[session]` section.
    pub session: String,
    /// Lines of the `[[provider]]` section beside the usual.
    pub more: String,
}

impl Opening {
    /// The usual.
    pub fn new() -> Result<Self> {
        let mut plan = Plan::new()?;
        plan.company.sign_in = true;
        let (session, more) = (String::new(), String::new());
        Ok(Self { plan, setup: Setup::default(), backchannel: None, session, more })
    }

    /// One whose gateway and provider live by clocks of their own, which show what the machine's does, with
    /// lines of the `[session]` section.
    pub fn timed(session: &str) -> Result<Self> {
        let mut opening = Self::new()?;
        opening.session = session.to_owned();
        let now = Some(unix()?);
        (opening.plan.clock, opening.setup.clock) = (now, now);
        Ok(opening)
    }

    /// Alice has another healthy device, called `tablet`.
    pub fn with_tablet(mut self) -> Result<Self> {
        self.plan.company.machines.push(Machine::new("tablet", "corp/alice", 12)?);
        Ok(self)
    }
}

/// What the machine's clock shows, seconds since 1970.
fn unix() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("the machine's clock is before 1970")?.as_secs())
}

/// The gateway as the provider knows it.
pub fn client() -> Client {
    let mut client = Client::new(CLIENT, SECRET, &format!("{DOOR}/callback/corp"));
    client.post_logout_redirect_uris = vec![format!("{DOOR}/signed-out")];
    client
}

/// Writes the files that [`section`] names.
pub fn write_credentials(folder: &Path, provider: &Provider) -> Result<()> {
    write_secret(&folder.join("corp.secret"), SECRET)?;
    fs::copy(provider.ca(), folder.join("corp-ca.pem")).context("copying the provider's CA").map(drop)
}

/// What the gateway's file says of the provider, with more lines.
pub fn section(more: &str) -> String {
    format!(
        "[[provider]]\nname = \"corp\"\nissuer = \"{ISSUER}\"\nclient_id = \"{CLIENT}\"\n\
client_secret = \"corp.secret\"\nca = \"corp-ca.pem\"\ndomains = [\"corp.example\"]\ngroups = [\"*\"]\n\
scopes = [\"email\", \"profile\", \"groups\", \"offline_access\"]\n{more}\n"
    )
}

impl Office {
    /// The usual office.
    pub fn open() -> Result<Self> {
        Self::with(Opening::new()?)
    }

    /// An office of the test's own.
    pub fn with(opening: Opening) -> Result<Self> {
        let Opening { plan, mut setup, backchannel, session, more } = opening;
        let ahead = plan.clock.map(|_| 0);
        let mut scene = Scene::with(plan)?;
        setup.clients.push(Client { backchannel_logout_uri: backchannel, ..client() });
        let provider = Provider::start(scene.world.login()?, &setup)?;
        write_credentials(scene.gateway.folder(), &provider)?;
        let session = if session.is_empty() { session } else { format!("[session]\n{session}\n") };
        scene.change(|company| {
            company.more += &format!("{session}{}", section(&more));
            Ok(())
        })?;
        Ok(Self { scene, provider, ahead })
    }

    /// So many seconds pass for the gateway and the provider.
    pub fn pass(&mut self, seconds: u64) -> Result<()> {
        let ahead = self.ahead.as_mut().context("they live by the machine's clock")?;
        *ahead += seconds;
        let now = unix()? + *ahead;
        self.provider.set_clock(now)?;
        self.scene.set_clock(now)
    }

    /// Until `unix`, seconds since 1970, by their clocks.
    pub fn pass_until(&mut self, unix: u64) -> Result<()> {
        let now = self::unix()? + self.ahead.unwrap_or_default();
        self.pass(unix.saturating_sub(now))
    }

    /// Waits until the gateway says, or does not say any more, that it is degraded in this way; what it says.
    pub fn degraded(&self, name: &str, is: bool) -> Result<String> {
        eventually(&format!("degraded in {name}: {is}"), || {
            let status = self.scene.status().ok()?;
            let state = status["degraded"].as_array()?.iter().find(|state| state["name"] == name);
            (state.is_some() == is).then(|| state.map(Value::to_string).unwrap_or_default())
        })
    }

    /// The root of the gateway's own authority, as a device gets it, and beside it the provider's: what a
    /// device of this company trusts.
    pub fn trusted(&self, device: &Device) -> Result<PathBuf> {
        trusted(&self.provider, device)
    }

    /// The same in files of their own, for a browser.
    pub fn roots(&self, device: &Device) -> Result<[PathBuf; 2]> {
        let file = device.host().folder().join("gateway-ca.pem");
        fs::write(&file, device.page(&["http://door.corp.example/ca.pem"])?)?;
        Ok([file, self.provider.ca().to_owned()])
    }
}

/// See [`Office::trusted`].
pub fn trusted(provider: &Provider, device: &Device) -> Result<PathBuf> {
    let own = device.page(&["http://door.corp.example/ca.pem"])?;
    let file = device.host().folder().join("trusted.pem");
    fs::write(&file, own + &fs::read_to_string(provider.ca())?)?;
    Ok(file)
}

/// What `doorward-device status --json` says on a device.
pub fn standing(device: &Device) -> Result<Value> {
    let mut command = product(device.host(), "doorward-device")?;
    command.args(["status", "--json", "--gateway", GATEWAY]);
    let output = device.host().run(&command)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&said).with_context(|| format!("{said} {}", String::from_utf8_lossy(&output.stderr)))
}

/// The session of a device as it is told there; null if there is none.
pub fn session(device: &Device) -> Result<Value> {
    Ok(standing(device)?["session"].clone())
}

/// When the session of a device ends, seconds since 1970.
pub fn expires(device: &Device) -> Result<u64> {
    moment(device, &session(device)?["expires"])
}

/// An instant as the gateway tells it, seconds since 1970.
pub fn moment(device: &Device, told: &Value) -> Result<u64> {
    let told = told.as_str().with_context(|| format!("{told} is no time"))?;
    Ok(device.host().sh("date", &["--utc", "--date", told, "+%s"])?.trim().parse()?)
}

/// A connection through the tunnel to the service that echoes, which has.
pub fn dial(device: &Device) -> Result<TcpStream> {
    let mut flow = device.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "open")?;
    Ok(flow)
}

/// The paths of files, as arguments.
pub fn texts(files: &[PathBuf]) -> Vec<&Path> {
    files.iter().map(PathBuf::as_path).collect()
}
