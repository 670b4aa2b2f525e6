//! Programs that send what no honest peer sends: scapy makes the packets, raw sockets send them with
//! any source, the stock client encrypts those that go into a tunnel.
//! They know nothing of the product; what it must do about them is for the tests.
//! Always true: a program sends until it is dropped, and only on the host it was started on.

use std::fs;

use anyhow::Result;

use crate::{device::Device, host::Host, process::Process};

/// The interpreter scapy is installed for; another one may stand before it in the search path.
const PYTHON: &str = "/usr/bin/python3";

/// Packets inside the tunnel that the gateway must drop by reason.
pub const INNER: &str = include_str!("../hostile/inner.py");
/// A flood inside the tunnel.
pub const FLOOD: &str = include_str!("../hostile/flood.py");
/// Datagrams at the gateway's WireGuard port, from anywhere.
pub const OUTER: &str = include_str!("../hostile/outer.py");
/// Waits for a handshake initiation and tells it.
pub const LISTEN: &str = include_str!("../hostile/listen.py");

/// Starts one of the programs and waits until it has begun, which it says by the line `ready`.
pub fn start(host: &Host, program: &str, arguments: &[&str], ready: &str) -> Result<Process> {
    let file = host.folder().join("hostile.py");
    fs::write(&file, program)?;
    let mut command = host.command(PYTHON)?;
    command.arg("-B").arg(&file).args(arguments);
    let process = host.start("hostile", command)?;
    process.wait_for(ready)?;
    Ok(process)
}

/// Makes the tunnel interface of a device take packets for any destination and of any length.
pub fn open_wide(device: &Device) -> Result<()> {
    let peer = device.host().sh("wg", &["show", "wg0", "peers"])?;
    device.host().sh("wg", &["set", "wg0", "peer", peer.trim(), "allowed-ips", "0.0.0.0/0,::/0"])?;
    device.ip("link set wg0 mtu 9000 txqueuelen 1000").map(drop)
}
