//! The gateway's network: a TUN and transparent TCP listeners in a namespace of its own, or in the
//! namespace we are in when that is a container's (`Mode::Own`).
//! It accepts nothing and reads no packet. Always true: in private mode the host's routes, rules
//! and settings are untouched, and all of it ends with the descriptors returned here.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    process::Stdio,
};

use ipnet::IpNet;
use nix::{
    sched::CloneFlags,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
        sockopt,
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{SetUpError, Step},
    helper::{self, Job, Report},
    netlink::Netlink,
    netns::{self, Identity},
    ruleset, sys, sysctl, tcp,
    tun::Tun,
    wire::Channel,
};

/// The interface's name inside.
const INTERFACE: &str = "door0";

/// Connections that may wait to be accepted; somaxconn inside is raised to it.
const BACKLOG: i32 = 4096;

/// IPV6_TRANSPARENT (include/uapi/linux/in6.h); libc has it for no Linux target.
const IPV6_TRANSPARENT: i32 = 75;

/// Where the network is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// In a network namespace made for it; needs no privileges.
    Private,
    /// In the current one; needs NET_ADMIN. For containers.
    Own,
}

/// What to set up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// Where.
    pub mode: Mode,
    /// MTU of the TUN: what fits into one WireGuard packet.
    pub mtu: u16,
    /// The gateway's own address in the tunnel.
    pub gateway_v4: Ipv4Addr,
    /// The same for IPv6.
    pub gateway_v6: Ipv6Addr,
    /// The networks devices have their addresses in; routed into the TUN.
    pub device_nets: Vec<IpNet>,
    /// The port the transparent listeners use inside.
    pub proxy_port: u16,
    /// Whether the TUN may leave checksums and segmentation to us.
    pub offload: bool,
}

/// The gateway's network, ready.
#[derive(Debug)]
pub struct GatewayNet {
    /// Packets of devices go in, the kernel's answers come out.
    pub tun: Tun,
    /// IPv4 and, unless a note says otherwise, IPv6; `local_addr` of what they accept is the
    /// address the device wanted.
    pub listeners: Vec<TcpListener>,
    /// What could not be had and what serves instead, for the log.
    pub notes: Vec<String>,
}

/// Sets the network up, through the helper. Blocks for some milliseconds.
pub fn set_up(spec: &Spec) -> Result<GatewayNet, SetUpError> {
    let helper = helper::start(&Job::Gateway(spec.clone()), &[], Stdio::null())?;
    let (mut helper, report, fds) = helper.report()?;
    // The report is complete, so how it exits is of no interest; but it must be reaped.
    drop(helper.child.wait());
    let mut fds = fds.into_iter();
    let tun = fds.next().ok_or_else(|| {
        SetUpError::new(Step::Helper, "the helper sent no descriptors", "check the limit of open files")
    })?;
    Ok(GatewayNet {
        tun: Tun::from_fd(tun, report.tun),
        listeners: fds.map(TcpListener::from).collect(),
        notes: report.notes,
    })
}

/// The helper's part.
pub(crate) fn inside(spec: &Spec, channel: &Channel) -> Result<(), SetUpError> {
    if spec.mode == Mode::Private {
        netns::enter(CloneFlags::CLONE_NEWNET, Identity::Root)?;
    }
    let tun = Tun::create(INTERFACE, spec.offload)?;
    let mut notes = sysctl::apply(settings(spec.mode));
    if spec.offload && !tun.offload() {
        notes.push("the kernel refused IFF_VNET_HDR or TUNSETOFFLOAD: packets pass one by one".into());
    }
    let netlink = Netlink::open()?;
    let mut listeners = configure_v4(spec, &netlink)?;
    match configure_v6(spec, &netlink) {
        Ok(listener) => listeners.push(listener),
        Err(error) => notes.push(format!("no IPv6 inside the tunnel: {error}")),
    }
    ruleset::load(INTERFACE, spec.proxy_port)?;
    notes.extend(listeners.iter().filter_map(prefer_bbr));
    let report = Report { tun: tun.agreed(), notes };
    let fds: Vec<_> = [tun.as_fd()].into_iter().chain(listeners.iter().map(AsFd::as_fd)).collect();
    channel
        .send(&Ok::<_, SetUpError>(report), &fds)
        .map_err(|error| SetUpError::new(Step::Helper, error, "check the limit of open files"))
}

fn configure_v4(spec: &Spec, netlink: &Netlink) -> Result<Vec<OwnedFd>, SetUpError> {
    netlink.loopback_up()?;
    netlink.interface_up(INTERFACE, spec.mtu, Path::new("/proc/sys/net/ipv6").exists())?;
    netlink.add_address(INTERFACE, spec.gateway_v4.into())?;
    for net in spec.device_nets.iter().filter(|net| matches!(net, IpNet::V4(_))) {
        netlink.add_route(INTERFACE, *net)?;
    }
    netlink.capture_v4(INTERFACE)?;
    Ok(vec![listener(Ipv4Addr::UNSPECIFIED.into(), spec.proxy_port)?])
}

fn configure_v6(spec: &Spec, netlink: &Netlink) -> Result<OwnedFd, SetUpError> {
    netlink.add_address(INTERFACE, spec.gateway_v6.into())?;
    for net in spec.device_nets.iter().filter(|net| matches!(net, IpNet::V6(_))) {
        netlink.add_route(INTERFACE, *net)?;
    }
    netlink.capture_v6(INTERFACE)?;
    listener(Ipv6Addr::UNSPECIFIED.into(), spec.proxy_port)
}

/// Settings of the namespace and of the interface. In the container's own namespace only what our
/// sockets and our interface need is touched.
fn settings(mode: Mode) -> Vec<(String, &'static str)> {
    let sockets = [
        // With SYN cookies the kernel forgets the SYN that pairs a connection with its permit.
        ("net/ipv4/tcp_syncookies", "0"),
        ("net/core/somaxconn", "4096"),
        ("net/ipv4/tcp_max_syn_backlog", "8192"),
        // Windows for 200 Mbit/s over 300 ms.
        ("net/ipv4/tcp_rmem", "4096 131072 8388608"),
        ("net/ipv4/tcp_wmem", "4096 65536 8388608"),
    ];
    let private = [
        ("net/ipv4/tcp_congestion_control", "bbr"),
        ("net/ipv4/ip_forward", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv6/conf/all/forwarding", "0"),
        ("net/ipv6/conf/all/disable_ipv6", "0"),
        ("net/ipv6/conf/default/disable_ipv6", "0"),
    ];
    let interface = [
        ("ipv4/conf", "rp_filter", "0"),
        ("ipv4/conf", "forwarding", "0"),
        ("ipv6/conf", "disable_ipv6", "0"),
        ("ipv6/conf", "forwarding", "0"),
        ("ipv6/conf", "accept_ra", "0"),
        ("ipv6/conf", "router_solicitations", "0"),
    ];
    let private = private.into_iter().filter(|_| mode == Mode::Private);
    let whole = sockets.into_iter().chain(private).map(|(name, value)| (name.to_owned(), value));
    let ours =
        interface.into_iter().map(|(tree, name, value)| (format!("net/{tree}/{INTERFACE}/{name}"), value));
    whole.chain(ours).collect()
}

fn listener(address: IpAddr, port: u16) -> Result<OwnedFd, SetUpError> {
    open_listener(SocketAddr::new(address, port)).map_err(|error| {
        let remedy = if error.kind() == std::io::ErrorKind::AddrInUse {
            "another gateway is running in this network namespace: stop it"
        } else {
            "NET_ADMIN over this network namespace is needed"
        };
        SetUpError::new(Step::Listener, format!("TCP {address} port {port}: {error}"), remedy)
    })
}

fn open_listener(address: SocketAddr) -> std::io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv4() {
        setsockopt(&fd, sockopt::IpTransparent, &true)?;
    } else {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        sys::set_option(&fd, libc::IPPROTO_IPV6, IPV6_TRANSPARENT, 1)?;
    }
    tcp::save_syn(&fd)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd)
}

/// BBR delivers twenty times CUBIC's rate on a line that loses 0.3 % of packets; accepted sockets
/// inherit it. `Some` is the note that it was not to be had.
fn prefer_bbr(listener: &OwnedFd) -> Option<String> {
    let error = setsockopt(listener, sockopt::TcpCongestion, &"bbr".into()).err()?;
    Some(format!("the kernel's default congestion control serves instead of BBR: {error} (modprobe tcp_bbr)"))
}
