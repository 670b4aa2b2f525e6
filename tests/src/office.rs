//! A company whose people sign in: a scene with a real provider that the gateway trusts.
//! It signs nobody in; a [`Person`](crate::person::Person) or a browser does.
//! Always true: after `open` the provider answers, and the gateway's files name it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    company::write_secret,
    device::Device,
    provider::{Client, ISSUER, Provider, Setup},
    scene::{Plan, Scene},
};

/// The portal.
pub const DOOR: &str = "https://door.corp.example";
/// An app, over TLS.
pub const WIKI_PAGE: &str = "https://wiki.corp.example/";
/// How we are called at the provider.
const CLIENT: &str = "doorward";
const SECRET: &str = "gateway-secret-of-the-tests";

/// A scene and its provider.
pub struct Office {
    /// The gateway and everything around it.
    pub scene: Scene,
    /// Who signs people in.
    pub provider: Provider,
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
}

impl Office {
    /// The usual office.
    pub fn open() -> Result<Self> {
        Self::with(Opening::new()?)
    }

    /// An office of the test's own.
    pub fn with(opening: Opening) -> Result<Self> {
        let Opening { plan, mut setup, backchannel, session, more } = opening;
        let mut scene = Scene::with(plan)?;
        let mut client = Client::new(CLIENT, SECRET, &format!("{DOOR}/callback/corp"));
        client.post_logout_redirect_uris = vec![format!("{DOOR}/signed-out")];
        client.backchannel_logout_uri = backchannel;
        setup.clients.push(client);
        let provider = Provider::start(scene.world.login()?, &setup)?;
        let folder = scene.gateway.folder().clone();
        write_secret(&folder.join("corp.secret"), SECRET)?;
        fs::copy(provider.ca(), folder.join("corp-ca.pem"))?;
        let session = if session.is_empty() { session } else { format!("[session]\n{session}\n") };
        scene.change(|company| {
            company.more += &format!(
                "{session}[[provider]]\nname = \"corp\"\nissuer = \"{ISSUER}\"\nclient_id = \"{CLIENT}\"\n\
client_secret = \"corp.secret\"\nca = \"corp-ca.pem\"\ndomains = [\"corp.example\"]\ngroups = [\"*\"]\n\
scopes = [\"email\", \"profile\", \"groups\", \"offline_access\"]\n{more}\n"
            );
            Ok(())
        })?;
        Ok(Self { scene, provider })
    }

    /// The root of the gateway's own authority, as a device gets it, and beside it the provider's: what a
    /// device of this company trusts.
    pub fn trusted(&self, device: &Device) -> Result<PathBuf> {
        let own = device.page(&["http://door.corp.example/ca.pem"])?;
        let file = device.host().folder().join("trusted.pem");
        fs::write(&file, own + &fs::read_to_string(self.provider.ca())?)?;
        Ok(file)
    }

    /// The same in files of their own, for a browser.
    pub fn roots(&self, device: &Device) -> Result<[PathBuf; 2]> {
        let file = device.host().folder().join("gateway-ca.pem");
        fs::write(&file, device.page(&["http://door.corp.example/ca.pem"])?)?;
        Ok([file, self.provider.ca().to_owned()])
    }
}

/// The paths of files, as arguments.
pub fn texts(files: &[PathBuf]) -> Vec<&Path> {
    files.iter().map(PathBuf::as_path).collect()
}
