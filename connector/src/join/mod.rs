//! Joins a gateway with a one-time token: makes the key, shows it, and writes the files to run with.
//! It keeps no token and serves no flow.
//! Always true: what can fail here is tried before the token is used; the same command again repairs
//! what was cut short, since the key is kept; no file that is there is overwritten.

mod ask;
mod folder;

use std::{fmt::Write, io, path::PathBuf};

pub use protocol::join::Joined;
use protocol::{
    config::{Mistakes, Secret},
    key::LinkPin,
    target::{AllowRule, Target},
};

use self::{ask::Failure, folder::Folder};
use crate::{Config, key::LinkKeyError, quic};

/// How every token begins.
const TOKEN: &str = "dwt_";
/// Longer than any token, in bytes.
pub const MAX_TOKEN: usize = 200;

/// What to join, and where to keep what comes of it.
#[derive(Debug)]
pub struct Order {
    /// Gateways; the first that answers lets in.
    pub gateways: Vec<Target>,
    /// The key they must have.
    pub gateway_key: LinkPin,
    /// Where `connector.key` and `connector.toml` are made.
    pub folder: PathBuf,
    /// What may be dialled from then on.
    pub allow: Vec<AllowRule>,
}

/// Why a connector has not joined: whose fault it is, and what became of the token.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It has joined, or somebody else's files are there.
    #[error(
        "{0} is there already, and is not overwritten: run it, or choose another --dir; the token was not used"
    )]
    Standing(PathBuf),
    /// The folder does not take files.
    #[error("cannot make files in {0}: {1}; mend that first, the token was not used")]
    Folder(PathBuf, #[source] io::Error),
    /// The key cannot be made or read.
    #[error("{0}: {1}; the token was not used")]
    Key(PathBuf, #[source] LinkKeyError),
    /// It asks for a configuration that could not be run with.
    #[error("what would be written could not be run with; the token was not used:\n{0}")]
    Unusable(#[from] Mistakes),
    /// The token cannot be had.
    #[error("cannot read the token: {0}")]
    Token(#[source] io::Error),
    /// The text is something else.
    #[error(
        "that is not a token: one begins with {TOKEN} and is made by `doorward admin connector token SITE`"
    )]
    NotAToken,
    /// TLS does not take the key.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A gateway said no.
    #[error("the gateway at {0} refuses: {1}")]
    Refused(Target, String),
    /// No gateway said anything.
    #[error(
        "no gateway let this connector join:{}\nWhen that is mended run the same command again: a token that was used with the key kept here stays good for it",
        told(.0)
    )]
    Unanswered(Vec<(Target, Failure)>),
    /// The gateway let it in; what it needs to run could not be written.
    #[error("joined, but cannot write {0}: {1}; mend that and run the same command again")]
    Unwritten(PathBuf, #[source] io::Error),
}

fn told(failures: &[(Target, Failure)]) -> String {
    failures.iter().fold(String::new(), |mut told, (gateway, failure)| {
        write!(told, "\n  {gateway}: {failure}").expect("writing to a String succeeds");
        told
    })
}

impl Order {
    /// Joins; `token` is asked for when everything else is ready. Returns what it joined as, and the
    /// configuration to run with.
    pub async fn run(
        &self,
        token: impl FnOnce() -> io::Result<Secret<String>>,
    ) -> Result<(Joined, PathBuf), JoinError> {
        let folder = Folder::prepare(&self.folder)?;
        Config::parse(&self.folder.join(folder::CONFIGURATION), &self.configuration("NAME", "SITE"))?;
        let token = token().map_err(JoinError::Token)?;
        let token = Secret::new(token.expose().trim().to_owned());
        if !token.expose().starts_with(TOKEN) || token.expose().len() > MAX_TOKEN {
            return Err(JoinError::NotAToken);
        }
        let client = quic::client(folder.key(), self.gateway_key, protocol::join::ALPN)?;
        let joined = ask::first(&client, &self.gateways, &token).await?;
        let written = folder.finish(&self.configuration(joined.connector.as_str(), joined.site.as_str()))?;
        Ok((joined, written))
    }

    /// `connector.toml`.
    fn configuration(&self, connector: &str, site: &str) -> String {
        let (gateways, allow) = (list(&self.gateways), list(&self.allow));
        format!(
            r#"# Connector {connector} at the site {site}, which joined with a one-time token.
gateways = [{gateways}]
gateway_key = "{}"
private_key = "{}"

# What may be dialled from here, whatever a gateway asks for: this list has the last word, and while it is
# empty nothing is dialled. Networks or addresses, with or without ports:
#   allow = ["10.50.0.0/24", "10.50.1.7:5432", "[fd50::/64]:443"]
# SIGHUP makes a running connector read it again.
[targets]
allow = [{allow}]
"#,
            self.gateway_key,
            folder::KEY
        )
    }
}

fn list(all: &[impl ToString]) -> String {
    all.iter().map(|one| format!("\"{}\"", one.to_string())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
