//! `doorward admin audit`. Always true: each command is one request.

use clap::Subcommand;
use protocol::id::{DeviceId, UserId};

use crate::admin::request::{AdminRequest, AuditRequest};

const EXAMPLES: &str = "\
Examples:
  doorward admin audit verify
  doorward admin audit tail --follow
  doorward admin audit grep --user corp/alice
  doorward admin audit explain REQUEST-ID, as a page of denial shows it";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum AuditCommand {
    /// Verify the chain and its signed checkpoints
    Verify,
    /// Show the latest records
    Tail {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        /// And those that come, until Ctrl-C
        #[arg(long)]
        follow: bool,
    },
    /// Find records
    Grep {
        /// What stands in the record
        #[arg(required_unless_present_any = ["user", "device"])]
        text: Option<String>,
        /// About this person
        #[arg(long)]
        user: Option<UserId>,
        /// About this device
        #[arg(long)]
        device: Option<DeviceId>,
        /// At most as many, the latest
        #[arg(short = 'n', long, default_value_t = 1000)]
        most: usize,
    },
    /// Explain why a request was allowed or denied
    Explain {
        /// The id on the page, or in the log
        id: String,
    },
}

impl AuditCommand {
    pub fn request(self) -> AdminRequest {
        AdminRequest::Audit(match self {
            Self::Verify => AuditRequest::Verify,
            Self::Tail { lines, follow } => AuditRequest::Tail { lines, follow },
            Self::Grep { text, user, device, most } => AuditRequest::Grep { text, user, device, most },
            Self::Explain { id } => AuditRequest::Explain { id },
        })
    }
}
