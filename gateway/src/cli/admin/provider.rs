//! `doorward admin provider`. Always true: the running gateway asks, by the network it has.

use clap::Subcommand;
use protocol::id::ProviderId;

use crate::admin::request::{AdminRequest, ProviderRequest};

const EXAMPLES: &str = "\
A check tells what the provider can and lacks, what to do about it, and which addresses to enter there. Exit
status 1 if nobody could sign in as it is. `doorward check --providers` does the same without a gateway.

Examples:
  doorward admin provider check corp
  doorward admin provider check https://login.corp.example --name corp";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum ProviderCommand {
    /// List the providers of doorward.toml, and what was wrong with them last
    List,
    /// Look a provider over; of one that is not configured yet, print its section for doorward.toml too
    Check {
        /// The name of a [[provider]], or the https address of an issuer
        #[arg(value_name = "NAME|URL")]
        provider: String,
        /// What one that is not configured yet is to be called
        #[arg(long)]
        name: Option<ProviderId>,
    },
}

impl ProviderCommand {
    pub fn request(self) -> AdminRequest {
        AdminRequest::Provider(match self {
            Self::List => ProviderRequest::List,
            Self::Check { provider, name } => ProviderRequest::Check { provider, name },
        })
    }
}
