//! Makes what a file lists exist as it is listed, in one commit. It reads no file. Always true: all of
//! it is carried out or nothing; what the list does not mention stays, unless it is to be pruned.

mod connectors;
mod devices;
mod diff;
mod listed;
mod people;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use self::diff::Diff;
pub use self::listed::{Listed, ListedConnector, ListedDevice, ListedGroup, ListedUser};
use super::{AdminError, Context, Noun, Plan, Scope, draft::Draft};

/// What is asked about everything a file lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// What there is to be.
    pub listed: Listed,
    /// Remove what is not listed.
    pub prune: bool,
    /// Also keys that were taken from a device, and people who are disabled, if the list enables them.
    pub again: bool,
    /// Only tell what would change.
    pub dry_run: bool,
}

pub(super) fn scope(request: &ImportRequest) -> Scope {
    if request.dry_run { Scope::read(Noun::Import, "dry-run") } else { Scope::write(Noun::Import, "import") }
}

/// An import in the making.
struct Import<'a, 'v> {
    request: &'a ImportRequest,
    context: &'a Context<'a>,
    draft: Draft<'v>,
    diff: Diff,
}

pub(super) fn plan(
    request: &ImportRequest,
    draft: Draft<'_>,
    context: &Context<'_>,
) -> Result<Plan, AdminError> {
    let mut import = Import { request, context, draft, diff: Diff::default() };
    import.groups()?;
    import.users()?;
    import.devices()?;
    import.connectors()?;
    let Import { draft, diff, .. } = import;
    let plan = draft.done(diff.data(), diff.text());
    Ok(if request.dry_run { Plan { commit: None, ..plan } } else { plan })
}

/// Each once, or an error that names the one that is twice.
fn once<'a, T: Ord + std::fmt::Display + 'a>(
    noun: Noun,
    names: impl Iterator<Item = &'a T>,
) -> Result<BTreeSet<&'a T>, AdminError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(AdminError::List(format!("{noun} {name} stands in it twice")));
        }
    }
    Ok(seen)
}
