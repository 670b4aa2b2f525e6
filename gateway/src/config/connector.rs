//! `[connectors]`: where connectors dial in. Which of them may link stands in the store.

use std::{net::SocketAddr, path::PathBuf};

use protocol::{
    config::{Secret, Section},
    key::LinkPin,
    target::Target,
};

use super::{
    gateway::{Gateway, read_listen},
    key_file,
};

/// `[connectors]`.
#[derive(Debug)]
pub struct LinkListener {
    /// What connectors dial, if that is not the host of `gateway.endpoint` with the first port of `listen`;
    /// told to those who join.
    pub endpoint: Option<Target>,
    /// Where connectors dial in; never empty.
    pub listen: Vec<SocketAddr>,
    /// PEM, PKCS #8, Ed25519.
    pub private_key: Secret<String>,
    /// Where that key was read.
    pub private_key_file: PathBuf,
    /// What connectors pin as `gateway_key`.
    pub pin: LinkPin,
}

/// Reads `[connectors]`; `gateway` has taken its addresses before.
pub(super) fn read(s: &mut Section<'_>, gateway: Option<&Gateway>) -> Option<LinkListener> {
    let taken = gateway.map_or(&[][..], |gateway| &gateway.listen);
    s.optional_section("connectors", |s| read_listener(s, taken))
}

fn read_listener(s: &mut Section<'_>, taken: &[SocketAddr]) -> Option<LinkListener> {
    let endpoint = s.optional_text("endpoint");
    let listen = read_listen(s, r#"["0.0.0.0:51821", "[::]:51821"]"#);
    if let Some(both) = listen.iter().flatten().find(|address| taken.contains(address)) {
        s.mistake("listen", format!("{both} is WireGuard's already, in gateway.listen"));
    }
    let key = s.path("private_key").and_then(|file| {
        let key = key_file::link(&file).map_err(|error| s.mistake("private_key", error.to_string())).ok()?;
        Some((file, key))
    });
    let (private_key_file, (private_key, pin)) = key?;
    Some(LinkListener { endpoint, listen: listen?, private_key, private_key_file, pin })
}
