//! Links, addresses, routes and rules over rtnetlink, blocking, in the namespace the caller is in.
//! It reads nothing back and knows no purpose; `gateway_ns` and `device_ns` compose it.
//! Always true: what exists already is success, so that a restart in the same namespace works.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use nix::{errno::Errno, net::if_::if_nametoindex};
use rtnetlink::{
    Handle, LinkUnspec, RouteMessageBuilder, new_connection,
    packet_route::{
        link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute},
        route::{RouteMessage, RouteScope, RouteType},
        rule::RuleAction,
    },
};
use tokio::runtime::{Builder, Runtime};

use crate::error::{SetUpError, Step};

/// The routing table that delivers everything to local sockets; any number but the kernel's own.
const CAPTURE_TABLE: u32 = 100;

/// Packets an interface may hold for us. A policy that cuts ten thousand flows makes the kernel write as
/// many resets at once; of a TUN's usual 500 places it ran out, and clients never learned (measured).
const TX_QUEUE: u32 = 16_384;

/// A conversation with the kernel of one namespace.
pub(crate) struct Netlink {
    runtime: Runtime,
    handle: Handle,
}

impl Netlink {
    /// Opens it in the caller's current network namespace, where it stays.
    pub(crate) fn open() -> Result<Self, SetUpError> {
        let runtime = Builder::new_current_thread().enable_io().build().map_err(|e| failed("netlink", e))?;
        let guard = runtime.enter();
        let (connection, handle, _) = new_connection().map_err(|e| failed("netlink", e))?;
        drop(guard);
        runtime.spawn(connection);
        Ok(Self { runtime, handle })
    }

    /// Brings the loopback interface up.
    pub(crate) fn loopback_up(&self) -> Result<(), SetUpError> {
        let request = self.handle.link().set(LinkUnspec::new_with_index(index("lo")?).up().build());
        self.wait("lo", request.execute())
    }

    /// Sets MTU and queue and brings the interface up, silent: it makes no link-local address by itself and
    /// so solicits no routers.
    pub(crate) fn interface_up(&self, name: &str, mtu: u16, v6: bool) -> Result<(), SetUpError> {
        let link = || LinkUnspec::new_with_name(name);
        if v6 {
            let quiet = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
            let message = link().append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![quiet])).build();
            self.wait("addrgenmode", self.handle.link().set(message).execute())?;
        }
        let queue = LinkAttribute::TxQueueLen(TX_QUEUE);
        let message = link().mtu(mtu.into()).multicast(false).append_extra_attribute(queue).up().build();
        self.wait(name, self.handle.link().set(message).execute())
    }

    /// Adds an address as a host prefix, which makes no route to others.
    pub(crate) fn add_address(&self, name: &str, address: IpAddr) -> Result<(), SetUpError> {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let request = self.handle.address().add(index(name)?, address, whole);
        self.wait(&address.to_string(), request.execute())
    }

    /// Routes a network into the interface.
    pub(crate) fn add_route(&self, name: &str, net: IpNet) -> Result<(), SetUpError> {
        let index = index(name)?;
        let message = match net {
            IpNet::V4(net) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(net.network(), net.prefix_len())
                .output_interface(index)
                .scope(RouteScope::Link)
                .build(),
            IpNet::V6(net) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(net.network(), net.prefix_len())
                .output_interface(index)
                .build(),
        };
        self.add_route_message(&net.to_string(), message)
    }

    /// Delivers every IPv4 packet that arrives on the interface to a local socket.
    pub(crate) fn capture_v4(&self, name: &str) -> Result<(), SetUpError> {
        let rule = self.handle.rule().add().v4().input_interface(name).table_id(CAPTURE_TABLE);
        self.wait("IPv4 rule", rule.action(RuleAction::ToTable).execute())?;
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(Ipv4Addr::UNSPECIFIED, 0)
            .output_interface(index("lo")?)
            .table_id(CAPTURE_TABLE)
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .build();
        self.add_route_message("IPv4 capture route", message)
    }

    /// The same for IPv6.
    pub(crate) fn capture_v6(&self, name: &str) -> Result<(), SetUpError> {
        let rule = self.handle.rule().add().v6().input_interface(name).table_id(CAPTURE_TABLE);
        self.wait("IPv6 rule", rule.action(RuleAction::ToTable).execute())?;
        let message = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(Ipv6Addr::UNSPECIFIED, 0)
            .output_interface(index("lo")?)
            .table_id(CAPTURE_TABLE)
            .kind(RouteType::Local)
            .build();
        self.add_route_message("IPv6 capture route", message)
    }

    fn add_route_message(&self, what: &str, message: RouteMessage) -> Result<(), SetUpError> {
        self.wait(what, self.handle.route().add(message).execute())
    }

    fn wait(
        &self,
        what: &str,
        request: impl Future<Output = Result<(), rtnetlink::Error>>,
    ) -> Result<(), SetUpError> {
        match self.runtime.block_on(request) {
            Ok(()) => Ok(()),
            Err(rtnetlink::Error::NetlinkError(message)) => {
                let error = message.to_io();
                if error.raw_os_error() == Some(Errno::EEXIST as i32) {
                    Ok(())
                } else {
                    Err(failed(what, error))
                }
            }
            Err(other) => Err(failed(what, io::Error::other(other))),
        }
    }
}

fn index(name: &str) -> Result<u32, SetUpError> {
    if_nametoindex(name).map_err(|errno| failed(name, errno.into()))
}

fn failed(what: &str, error: io::Error) -> SetUpError {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "NET_ADMIN over this network namespace is needed",
        _ => "check that the addresses and networks configured are valid and not in use here",
    };
    SetUpError::new(Step::Network, format!("{what}: {error}"), remedy)
}
