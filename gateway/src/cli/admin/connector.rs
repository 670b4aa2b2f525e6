//! `doorward admin connector`. Always true: each command is one request.

use std::time::Duration;

use clap::Subcommand;
use control::admin::{ConnectorRequest, Request};
use protocol::{
    config::duration,
    id::{ConnectorId, SiteId},
    key::LinkPin,
};

const EXAMPLES: &str = "\
Examples:
  doorward admin connector token frankfurt --ttl 2h
  doorward admin connector add fra-1 --site frankfurt --key sha256:…
  doorward admin connector disable fra-1";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum ConnectorCommand {
    /// List connectors
    List,
    /// Show one connector
    Show {
        /// Which
        connector: ConnectorId,
    },
    /// Add a connector whose key is known
    Add {
        /// Its name
        connector: ConnectorId,
        /// Where it stands, as in doorward.toml
        #[arg(long)]
        site: SiteId,
        /// Its key, as `doorward-connector keygen` prints it
        #[arg(long)]
        key: LinkPin,
    },
    /// Shut a connector: its link is cut at once
    Disable {
        /// Which
        connector: ConnectorId,
        /// The reason, for the log
        #[arg(long)]
        why: Option<String>,
    },
    /// Open a connector again
    Enable {
        /// Which
        connector: ConnectorId,
    },
    /// Forget a connector
    Remove {
        /// Which
        connector: ConnectorId,
    },
    /// Make a token with which one connector joins, once
    Token {
        /// Where it will stand, as in doorward.toml
        site: SiteId,
        /// The name it gets; without, one made of the site's
        #[arg(long)]
        name: Option<ConnectorId>,
        /// For how long it is good; at most 7d
        #[arg(long, default_value = "1h", value_parser = duration)]
        ttl: Duration,
    },
}

impl ConnectorCommand {
    pub fn request(self) -> Request {
        Request::Connector(match self {
            Self::List => ConnectorRequest::List,
            Self::Show { connector } => ConnectorRequest::Show { connector },
            Self::Add { connector, site, key } => ConnectorRequest::Add { connector, site, key },
            Self::Disable { connector, why } => ConnectorRequest::Disable { connector, why },
            Self::Enable { connector } => ConnectorRequest::Enable { connector },
            Self::Remove { connector } => ConnectorRequest::Remove { connector },
            Self::Token { site, name, ttl } => ConnectorRequest::Token { site, name, seconds: ttl.as_secs() },
        })
    }
}
