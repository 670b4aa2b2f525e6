//! The hosts of a test and the cables between them: an internet (10.77.0.0/24, fd77::/64) with the
//! gateway, the site's connector host and the devices; behind the site a private network
//! (10.50.0.0/24, fd50::/64) with `servers`, which nobody else can reach.
//! Always true: two worlds share nothing, not even in one process.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

use crate::host::Host;

/// Where worlds keep their files: on the sandbox's own tmpfs.
const FOLDER: &str = "/run/world";

/// The hosts of one test.
pub struct World {
    folder: PathBuf,
    /// Where the cables meet; two bridges, one per network.
    switch: Host,
    /// Runs `doorward`: 10.77.0.1.
    pub gw: Host,
    /// Runs connectors: 10.77.0.3 and 10.50.0.1.
    pub site: Host,
    /// Runs the services: 10.50.0.7 and 10.50.0.9.
    pub servers: Host,
}

impl World {
    /// Everything but the devices.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = PathBuf::from(format!("{FOLDER}/{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&folder)?;
        let switch = Host::new("switch", &folder)?;
        for bridge in ["internet", "private"] {
            switch.ip(&format!("link add {bridge} up type bridge"))?;
        }
        let world = Self {
            gw: Host::new("gw", &folder)?,
            site: Host::new("site", &folder)?,
            servers: Host::new("servers", &folder)?,
            switch,
            folder,
        };
        world.plug(&world.gw, "eth0", "internet", &["10.77.0.1/24", "fd77::1/64"])?;
        world.plug(&world.site, "eth0", "internet", &["10.77.0.3/24", "fd77::3/64"])?;
        world.plug(&world.site, "eth1", "private", &["10.50.0.1/24", "fd50::1/64"])?;
        let servers = ["10.50.0.7/24", "10.50.0.9/24", "fd50::7/64", "fd50::9/64"];
        world.plug(&world.servers, "eth0", "private", &servers)?;
        // An address of the private network that the network says it cannot reach, at once.
        world.site.ip("route add unreachable 10.50.0.66/32")?;
        Ok(world)
    }

    /// One more host on the internet, at `10.77.0.<number>`.
    pub fn device(&self, name: &str, number: u8) -> Result<Host> {
        let host = Host::new(name, &self.folder)?;
        let addresses = [format!("10.77.0.{number}/24"), format!("fd77::{number}/64")];
        self.plug(&host, "eth0", "internet", &[&addresses[0], &addresses[1]])?;
        Ok(host)
    }

    /// The host for the company's OpenID provider: 10.77.0.5.
    pub fn login(&self) -> Result<Host> {
        self.device("login", 5)
    }

    /// Gives `host` a `link` to one of the networks, with addresses there.
    pub fn plug(&self, host: &Host, link: &str, bridge: &str, addresses: &[&str]) -> Result<()> {
        let here = format!("{}-{link}", host.name());
        self.switch.ip(&format!("link add {here} type veth peer name {link} netns {}", host.netns()))?;
        self.switch.ip(&format!("link set {here} master {bridge} up"))?;
        // Addresses of ours cannot clash: without detection they are usable at once, and nothing about the
        // link changes later, at which browsers give up what they are loading.
        let detection = format!("/proc/sys/net/ipv6/conf/{link}/accept_dad");
        host.within(|| fs::write(&detection, "0")).with_context(|| detection.clone())?;
        host.ip(&format!("link set {link} up"))?;
        for address in addresses {
            host.ip(&format!("address add {address} dev {link}"))?;
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that fails to tidy up has not failed: the sandbox's memory goes with the process.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
