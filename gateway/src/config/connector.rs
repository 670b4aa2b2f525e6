//! `[connectors]`: where connectors dial in; and every `[[connector]]` that may.

use std::{net::SocketAddr, path::PathBuf};

use protocol::{
    config::{Secret, Section},
    id::{ConnectorId, SiteId},
    key::LinkPin,
};

use super::{
    gateway::{Gateway, read_listen},
    key_file,
    site::Sites,
    unique::Unique,
};

/// Everything about connectors.
#[derive(Debug)]
pub struct Connectors {
    /// `[connectors]`; always there if a connector is.
    pub listener: Option<LinkListener>,
    /// Every `[[connector]]`, in the order of the file.
    pub known: Vec<Connector>,
}

/// `[connectors]`.
#[derive(Debug)]
pub struct LinkListener {
    /// Where connectors dial in; never empty.
    pub listen: Vec<SocketAddr>,
    /// PEM, PKCS #8, Ed25519.
    pub private_key: Secret<String>,
    /// Where that key was read.
    pub private_key_file: PathBuf,
    /// What connectors pin as `gateway_key`.
    pub pin: LinkPin,
}

/// `[[connector]]`: an agent that may dial in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connector {
    /// Its name.
    pub id: ConnectorId,
    /// Where it stands; never `local`.
    pub site: SiteId,
    /// Its key.
    pub pin: LinkPin,
}

pub(super) fn read(s: &mut Section<'_>, gateway: Option<&Gateway>, sites: &Sites) -> Connectors {
    let taken = gateway.map_or(&[][..], |gateway| &gateway.listen);
    let listener = s.optional_section("connectors", |s| read_listener(s, taken));
    let (mut names, mut pins) = (Unique::default(), Unique::default());
    let known = s.sections("connector", |s| read_one(s, sites, &mut names, &mut pins));
    if s.has("connector") && !s.has("connectors") && !s.is_empty_list("connector") {
        s.mistake("connector", "a [[connector]] needs a [connectors] section that says where it dials in");
    }
    Connectors { listener, known }
}

fn read_listener(s: &mut Section<'_>, taken: &[SocketAddr]) -> Option<LinkListener> {
    let listen = read_listen(s, r#"["0.0.0.0:51821", "[::]:51821"]"#);
    if let Some(both) = listen.iter().flatten().find(|address| taken.contains(address)) {
        s.mistake("listen", format!("{both} is WireGuard's already, in gateway.listen"));
    }
    let key = s.path("private_key").and_then(|file| {
        let key = key_file::link(&file).map_err(|error| s.mistake("private_key", error.to_string())).ok()?;
        Some((file, key))
    });
    let (private_key_file, (private_key, pin)) = key?;
    Some(LinkListener { listen: listen?, private_key, private_key_file, pin })
}

fn read_one(
    s: &mut Section<'_>,
    sites: &Sites,
    names: &mut Unique<ConnectorId>,
    pins: &mut Unique<LinkPin>,
) -> Option<Connector> {
    let id: Option<ConnectorId> = s.text("name");
    if let Some(id) = &id {
        names.claim(s, "name", id.clone());
    }
    let site: Option<SiteId> = sites.take(s);
    if site.as_ref().is_some_and(SiteId::is_local) {
        s.mistake("site", "the gateway itself dials at \"local\": no connector stands there");
    }
    let pin: Option<LinkPin> = s.text("key");
    if let Some(pin) = pin {
        pins.claim(s, "key", pin);
    }
    Some(Connector { id: id?, site: site?, pin: pin? })
}
