//! A company at work: world, gateway, connectors and services, all running.
//! It offers what several tests need; what one test needs stands in that test.
//! Always true: after `start` every connector is linked, after `change` the new files are in force.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    company::{Company, ECHO, GATEWAY, POUR},
    connector::{Connector, TARGETS},
    device::Device,
    gateway::Gateway,
    mirror::Mirror,
    process::Process,
    streams::{Manner, Stream},
    wait::eventually,
    world::World,
};

/// Everything but the devices, which a test brings up itself.
pub struct Scene {
    /// The gateway.
    pub gateway: Gateway,
    /// Connectors by name; a killed one has no process.
    connectors: BTreeMap<&'static str, (Connector, Option<Process>)>,
    /// What connectors may dial by their own rule.
    targets: &'static str,
    /// The web application behind `wiki` and `vault`.
    pub mirror: Mirror,
    /// The service that echoes.
    pub echo: Stream,
    /// The service that pours.
    pub pour: Stream,
    /// What is in the gateway's files.
    pub company: Company,
    /// The hosts.
    pub world: World,
}

/// How a scene may differ from the usual one.
pub struct Plan {
    /// What the gateway's files say at the start.
    pub company: Company,
    /// Connectors at the site.
    pub connectors: Vec<&'static str>,
    /// What they may dial by their own rule.
    pub targets: &'static str,
    /// The gateway's clock at the start, seconds since 1970.
    pub clock: Option<u64>,
    /// How many files the gateway may have open.
    pub files: Option<u32>,
}

impl Plan {
    /// The usual.
    pub fn new() -> Result<Self> {
        Ok(Self {
            company: Company::new()?,
            connectors: vec!["fra-1"],
            targets: TARGETS,
            clock: None,
            files: None,
        })
    }
}

impl Scene {
    /// The usual scene.
    pub fn start() -> Result<Self> {
        Self::with(Plan::new()?)
    }

    /// A scene of the test's own.
    pub fn with(plan: Plan) -> Result<Self> {
        let world = World::new()?;
        let mirror = Mirror::listen(&world.servers, 8080)?;
        let echo = Stream::listen(&world.servers, ECHO, Manner::Echo)?;
        let pour = Stream::listen(&world.servers, POUR, Manner::Pour)?;
        let mut gateway = Gateway::prepare(&world.gw)?;
        if let Some(unix) = plan.clock {
            gateway.set_clock(&world.gw, unix)?;
        }
        gateway.files = plan.files;
        let mut company = plan.company;
        let mut connectors = BTreeMap::new();
        for name in plan.connectors {
            let mut connector = Connector::prepare(&world.site, name)?;
            connector.gateways = vec![company.outside];
            company.connectors.push((name.to_owned(), connector.pin.clone()));
            connectors.insert(name, (connector, None));
        }
        gateway.write(&company)?;
        gateway.start(&world.gw)?;
        gateway.import(&world.gw)?;
        let names: Vec<_> = connectors.keys().copied().collect();
        let mut scene =
            Self { gateway, connectors, targets: plan.targets, mirror, echo, pour, company, world };
        for name in &names {
            scene.start_connector(name)?;
        }
        for name in names {
            scene.wait_until_linked(name)?;
        }
        Ok(scene)
    }

    /// Waits until the gateway says that a connector is there.
    pub fn wait_until_linked(&self, name: &str) -> Result<()> {
        eventually(&format!("connector {name} is linked"), || {
            let status = self.status().ok()?;
            let row = status["connectors"].as_array()?.iter().find(|row| row["id"] == name)?;
            (!row["connected_since"].is_null()).then_some(())
        })
    }

    /// What the gateway says of itself.
    pub fn status(&self) -> Result<Value> {
        self.gateway.status(&self.world.gw)
    }

    /// One of the gateway's counters.
    pub fn counter(&self, name: &str) -> Result<u64> {
        self.gateway.counter(&self.world.gw, name)
    }

    /// Waits until a counter exceeds `before`.
    pub fn wait_for_counter(&self, name: &str, before: u64) -> Result<()> {
        eventually(&format!("{name} exceeds {before}"), || {
            self.counter(name).ok().filter(|now| *now > before).map(drop)
        })
    }

    /// Brings a device of the company up: stock client, stock `wg-quick`, the text the gateway hands out.
    pub fn device(&self, name: &str) -> Result<Device> {
        let machine = self.company.machine(name)?;
        let text = self.device_text(name)?;
        let host = self.world.device(name, machine.number)?;
        Device::up(host, &text, &machine.key, GATEWAY).context("bringing a device up")
    }

    /// What `doorward admin device config` prints for a device.
    pub fn device_text(&self, name: &str) -> Result<String> {
        self.gateway.ask(&self.world.gw, &["admin", "device", "config", name])
    }

    /// `doorward admin` with these words, parted by blanks; it must succeed. What it printed.
    pub fn admin(&self, words: &str) -> Result<String> {
        self.gateway.admin(&self.world.gw, words)
    }

    /// Changes the files and has them loaded.
    pub fn change(&mut self, edit: impl FnOnce(&mut Company) -> Result<()>) -> Result<()> {
        edit(&mut self.company)?;
        self.gateway.write(&self.company)?;
        self.gateway.ask(&self.world.gw, &["reload"])?;
        self.gateway.import(&self.world.gw).map(drop)
    }

    /// Sets the gateway's clock.
    pub fn set_clock(&mut self, unix: u64) -> Result<()> {
        self.gateway.set_clock(&self.world.gw, unix)
    }

    /// Kills the gateway and starts it again.
    pub fn restart_gateway(&mut self) -> Result<()> {
        self.gateway.kill()?;
        self.gateway.start(&self.world.gw)
    }

    /// Starts a connector of the plan.
    pub fn start_connector(&mut self, name: &str) -> Result<()> {
        let (connector, process) =
            self.connectors.get_mut(name).with_context(|| format!("no connector {name}"))?;
        *process = Some(connector.start(&self.world.site, &self.gateway.pin, self.targets)?);
        Ok(())
    }

    /// A running connector.
    pub fn connector(&self, name: &str) -> Result<&Process> {
        let process = self.connectors.get(name).and_then(|(_, process)| process.as_ref());
        process.with_context(|| format!("connector {name} is not running"))
    }

    /// Kills a connector.
    pub fn kill_connector(&mut self, name: &str) -> Result<()> {
        let process = self.connectors.get_mut(name).and_then(|(_, process)| process.take());
        process.with_context(|| format!("connector {name} is not running"))?.kill()
    }
}
