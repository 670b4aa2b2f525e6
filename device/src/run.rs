//! `run`: one command, its private network, and the tunnel that carries it, in one thread.
//! It decides nothing about packets (`carrier`) or keys (`tunnel::peer`).
//! Always true: when this ends, by whatever cause, the command ends too and its network is gone.

use std::{
    ffi::OsString,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{SocketAddr, ToSocketAddrs},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    time::{Duration, Instant},
};

use netio::{
    device_ns::{self, DeviceNet, SpawnError},
    poll::Poller,
    udp::BindError,
};
use tunnel::peer::{Client, ClientConfig};

use crate::{
    advice::{self, Advice, Say},
    carrier::{self, Carrier},
    config::{Config, Endpoint},
    signals::{Heard, Signals},
    tell,
};

const TUN: u64 = 0;
const UDP: u64 = 1;
const SIGNALS: u64 = 2;

/// How long what a finished command left in its sockets may take to arrive.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often the sockets are looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(20);

/// Why a command was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The endpoint's name has no address.
    #[error(
        "cannot resolve the Endpoint {endpoint}: {source}; check the name and this computer's own network"
    )]
    Resolve {
        /// As written.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
    /// No socket for the tunnel.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No network, or no such command.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The loop broke.
    #[error("the tunnel broke: {0}")]
    Io(#[from] io::Error),
}

/// Runs the command to its end.
pub fn run(config: &Config, command: &[OsString]) -> Result<ExitStatus, RunError> {
    let endpoint = resolve(&config.peer.endpoint)?;
    let udp = carrier::bind(endpoint)?;
    let signals = Signals::block()?;
    let DeviceNet { tun, sockets, command, notes } = device_ns::spawn(&network(config), command)?;
    notes.iter().for_each(|note| tell(note));
    let now = Instant::now();
    let client = client(config, endpoint, now);
    let session = Session {
        carrier: Carrier::new(config, client, tun, udp),
        poller: Poller::new()?,
        signals,
        command,
        advice: Advice::new(now),
        endpoint: format!("{} ({endpoint})", config.peer.endpoint),
        public_key: config.interface.private_key.public().to_string(),
        sockets,
    };
    Ok(session.run()?)
}

fn resolve(endpoint: &Endpoint) -> Result<SocketAddr, RunError> {
    let failed = |source| RunError::Resolve { endpoint: endpoint.clone(), source };
    let mut found = (endpoint.host.as_str(), endpoint.port).to_socket_addrs().map_err(failed)?;
    found.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

fn network(config: &Config) -> device_ns::Spec {
    device_ns::Spec {
        addresses: config.interface.addresses.clone(),
        routes: config.peer.allowed_ips.clone(),
        mtu: config.interface.mtu,
        offload: true,
        dns: config.interface.dns.clone(),
        search: config.interface.search.clone(),
    }
}

fn client(config: &Config, endpoint: SocketAddr, now: Instant) -> Client {
    let settings = ClientConfig {
        private_key: config.interface.private_key.clone(),
        gateway: config.peer.public_key,
        endpoint,
        keepalive: config.peer.keepalive,
        preshared: config.peer.preshared_key.clone(),
        // The system's randomness by way of std; it need not be secret, only different each time.
        seed: RandomState::new().build_hasher().finish(),
    };
    Client::new(settings, now)
}

struct Session {
    carrier: Carrier,
    poller: Poller,
    signals: Signals,
    command: device_ns::Running,
    advice: Advice,
    endpoint: String,
    public_key: String,
    sockets: device_ns::Sockets,
}

impl Session {
    fn run(mut self) -> io::Result<ExitStatus> {
        self.carrier.watch(&self.poller, TUN, UDP)?;
        self.poller.add(&self.signals, SIGNALS)?;
        self.carrier.time_passed(Instant::now());
        loop {
            self.turn(self.advice.deadline())?;
            if let Some(status) = self.command.try_wait()? {
                self.farewell()?;
                return Ok(status);
            }
        }
    }

    /// Waits for something to do, until `deadline` at most, and does it.
    fn turn(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let carrier = self.carrier.deadline();
        let next = deadline.map_or(carrier, |deadline| deadline.min(carrier));
        let timeout = Some(next.saturating_duration_since(Instant::now()));
        let mut ready = [false; 3];
        for token in self.poller.wait(timeout)? {
            if let Some(flag) = usize::try_from(token).ok().and_then(|at| ready.get_mut(at)) {
                *flag = true;
            }
        }
        let [tun, udp, signals] = ready;
        let now = Instant::now();
        if udp {
            self.carrier.gateway_sent(now)?;
        }
        if tun {
            self.carrier.command_sent(now)?;
        }
        self.carrier.time_passed(now);
        if signals {
            self.pass_signals_on()?;
        }
        self.advise(now);
        Ok(())
    }

    fn pass_signals_on(&self) -> io::Result<()> {
        while let Some(heard) = self.signals.next()? {
            match heard {
                Heard::Forward(signal) => self.command.signal(signal)?,
                Heard::Child | Heard::Everyone => {}
            }
        }
        Ok(())
    }

    fn advise(&mut self, now: Instant) {
        match self.advice.next(self.carrier.connected(), now) {
            Some(Say::NoAnswer) => tell(&advice::no_answer(&self.endpoint, &self.public_key)),
            Some(Say::Connected) => tell("the gateway answers now"),
            None => {}
        }
    }

    /// A command that wrote and exited expects that it was sent: its kernel still has it.
    fn farewell(&mut self) -> io::Result<()> {
        let end = Instant::now() + FAREWELL;
        while self.carrier.connected() && Instant::now() < end && self.sockets.unsent()? {
            self.turn(Some(Instant::now() + GLANCE))?;
        }
        Ok(())
    }
}

/// What a shell makes of an end: the command's own code, or 128 and the signal.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(Signal::SIGTERM as i32)), 143);
    }

    #[test]
    fn addresses_resolve_to_themselves() {
        for text in ["192.0.2.1:51820", "[2001:db8::1]:51820"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(resolve(&endpoint).unwrap().to_string(), text);
        }
    }
}
