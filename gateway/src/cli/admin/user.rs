//! `doorward admin user`. Always true: each command is one request.

use clap::Subcommand;
use control::admin::{Request, UserRequest};
use protocol::{
    config::time,
    id::{GroupId, UserId},
    time::Timestamp,
};

use super::edit;
use crate::config::directory::Email;

const EXAMPLES: &str = "\
People are called <provider>/<name>, for example corp/alice.

Examples:
  doorward admin user add corp/alice --email alice@corp.example --group corp/engineers
  doorward admin user disable corp/alice --why \"left on Friday\"
  doorward admin user list --json";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum UserCommand {
    /// List people
    List,
    /// Show one person, with their devices
    Show {
        /// Whom
        user: UserId,
    },
    /// Add a person
    Add {
        /// Whom
        user: UserId,
        /// Their e-mail
        #[arg(long)]
        email: Option<Email>,
        /// What people call them
        #[arg(long)]
        name: Option<String>,
        /// A group they are in; may be repeated
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<GroupId>,
        /// When their contract ends, for example 2027-01-31T18:00:00Z
        #[arg(long, value_name = "TIME", value_parser = time)]
        contract_end: Option<Timestamp>,
    },
    /// Change what is known of a person
    Set {
        /// Whom
        user: UserId,
        /// Their e-mail
        #[arg(long, conflicts_with = "no_email")]
        email: Option<Email>,
        /// Forget their e-mail
        #[arg(long)]
        no_email: bool,
        /// What people call them
        #[arg(long, conflicts_with = "no_name")]
        name: Option<String>,
        /// Forget their name
        #[arg(long)]
        no_name: bool,
        /// When their contract ends
        #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "no_contract_end")]
        contract_end: Option<Timestamp>,
        /// Their contract has no end
        #[arg(long)]
        no_contract_end: bool,
    },
    /// Shut a person out: everything of theirs is cut at once
    Disable {
        /// Whom
        user: UserId,
        /// The reason, for the log
        #[arg(long)]
        why: Option<String>,
    },
    /// Let a person in again, as before
    Enable {
        /// Whom
        user: UserId,
    },
    /// Forget a person
    ///
    /// Their personal data in the audit log cannot be read any more. To keep it, disable them instead.
    Remove {
        /// Whom
        user: UserId,
        /// And all their devices, whose keys do not come back
        #[arg(long)]
        with_devices: bool,
    },
    /// Make unreadable what the audit log says of a person so far; they stay
    Erase {
        /// Whom
        user: UserId,
    },
}

impl UserCommand {
    pub fn request(self) -> Request {
        Request::User(match self {
            Self::List => UserRequest::List,
            Self::Show { user } => UserRequest::Show { user },
            Self::Add { user, email, name, groups, contract_end } => {
                let (email, groups) = (email.map(|email| email.0), groups.into_iter().collect());
                UserRequest::Add { user, email, name, groups, contract_end }
            }
            Self::Set { user, email, no_email, name, no_name, contract_end, no_contract_end } => {
                UserRequest::Set {
                    user,
                    email: edit(email.map(|email| email.0), no_email),
                    name: edit(name, no_name),
                    contract_end: edit(contract_end, no_contract_end),
                }
            }
            Self::Disable { user, why } => UserRequest::Disable { user, why },
            Self::Enable { user } => UserRequest::Enable { user },
            Self::Remove { user, with_devices } => UserRequest::Remove { user, with_devices },
            Self::Erase { user } => UserRequest::Erase { user },
        })
    }
}
