//! `doorward admin session`. Always true: each command is one request, and all sessions end only if that
//! was said twice.

use clap::{ArgGroup, Args, Subcommand};
use control::admin::{Request, SessionRequest};
use protocol::id::{DeviceId, UserId};

const EXAMPLES: &str = "\
Whose session has ended may sign in again: `doorward admin user disable` shuts a person out, and ends their
sessions as well.

Examples:
  doorward admin session list --user corp/alice
  doorward admin session end --device laptop
  doorward admin session end --user corp/alice
  doorward admin session end --all --yes";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum SessionCommand {
    /// List who is signed in where, until when, and whether it counts
    List {
        /// Only this person's
        #[arg(long)]
        user: Option<UserId>,
        /// Only the one of this device
        #[arg(long)]
        device: Option<DeviceId>,
    },
    /// Show one session
    Show {
        /// Its id
        #[arg(value_name = "ID")]
        session: String,
    },
    /// End sessions: what is open by them is cut at once
    End(End),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["session", "device", "user", "all"]))]
pub(super) struct End {
    /// The session of this id
    #[arg(value_name = "ID")]
    session: Option<String>,
    /// The one of a device
    #[arg(long)]
    device: Option<DeviceId>,
    /// All of a person
    #[arg(long)]
    user: Option<UserId>,
    /// All there are
    #[arg(long, requires = "yes")]
    all: bool,
    /// Do it: everybody has to sign in again
    #[arg(long, requires = "all", conflicts_with_all = ["session", "device", "user"])]
    yes: bool,
}

impl SessionCommand {
    pub fn request(self) -> Request {
        Request::Session(match self {
            Self::List { user, device } => SessionRequest::List { user, device },
            Self::Show { session } => SessionRequest::Show { session },
            Self::End(end) => end.request(),
        })
    }
}

impl End {
    fn request(self) -> SessionRequest {
        match (self.session, self.device, self.user) {
            (Some(session), _, _) => SessionRequest::End { session },
            (None, Some(device), _) => SessionRequest::EndOn { device },
            (None, None, Some(user)) => SessionRequest::EndOf { user },
            (None, None, None) => SessionRequest::EndAll,
        }
    }
}
