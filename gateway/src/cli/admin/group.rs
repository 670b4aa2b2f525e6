//! `doorward admin group`. Always true: each command is one request.

use clap::Subcommand;
use control::admin::{GroupRequest, Request};
use protocol::id::{GroupId, UserId};

const EXAMPLES: &str = "\
Who is in a group is in every group it lies in as well.

Examples:
  doorward admin group add corp/oncall --in corp/engineers
  doorward admin group add-member corp/oncall corp/alice
  doorward admin group remove-member corp/oncall corp/alice";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum GroupCommand {
    /// List groups
    List,
    /// Show one group and who is in it directly
    Show {
        /// Which
        group: GroupId,
    },
    /// Add a group
    Add {
        /// Which
        group: GroupId,
        /// A group it lies in; may be repeated
        #[arg(long = "in", value_name = "GROUP")]
        within: Vec<GroupId>,
    },
    /// Let a group lie in these groups from now on, and in no others
    Set {
        /// Which
        group: GroupId,
        /// A group it lies in; may be repeated
        #[arg(long = "in", value_name = "GROUP", required_unless_present = "top")]
        within: Vec<GroupId>,
        /// It lies in none
        #[arg(long, conflicts_with = "within")]
        top: bool,
    },
    /// Forget a group
    Remove {
        /// Which
        group: GroupId,
        /// And take everybody out who is in it
        #[arg(long)]
        with_members: bool,
    },
    /// Put a person into a group
    AddMember {
        /// Into which
        group: GroupId,
        /// Whom
        user: UserId,
    },
    /// Take a person out of a group: what they had by it is cut at once
    RemoveMember {
        /// Out of which
        group: GroupId,
        /// Whom
        user: UserId,
    },
}

impl GroupCommand {
    pub fn request(self) -> Request {
        Request::Group(match self {
            Self::List => GroupRequest::List,
            Self::Show { group } => GroupRequest::Show { group },
            Self::Add { group, within } => GroupRequest::Add { group, within: within.into_iter().collect() },
            Self::Set { group, within, top: _ } => {
                GroupRequest::Set { group, within: within.into_iter().collect() }
            }
            Self::Remove { group, with_members } => GroupRequest::Remove { group, with_members },
            Self::AddMember { group, user } => GroupRequest::AddMember { group, user },
            Self::RemoveMember { group, user } => GroupRequest::RemoveMember { group, user },
        })
    }
}
