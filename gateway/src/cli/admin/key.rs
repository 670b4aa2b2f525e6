//! `doorward admin key`. Always true: no key itself is ever asked for or shown.

use clap::Subcommand;

use crate::admin::request::{AdminRequest, KeyRequest};

const EXAMPLES: &str = "\
A rotation that was interrupted is finished by saying it again. Gateways that share a store keep the old keys until
you have copied the file of [store] key to all of them and rotate again. A backup opens with the keys of its time.

Examples:
  doorward admin key list
  doorward admin key rotate";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum KeyCommand {
    /// List the keys by their ids, and how much each still seals
    List,
    /// Seal everything with the newest key, while the gateway runs
    Rotate,
}

impl KeyCommand {
    pub fn request(self) -> AdminRequest {
        AdminRequest::Key(match self {
            Self::List => KeyRequest::List,
            Self::Rotate => KeyRequest::Rotate,
        })
    }
}
