//! `doorward admin backup` and `doorward admin restore`. The gateway reads and writes the files.
//! Always true: their names reach it absolute.

use std::path::PathBuf;

use clap::Args;

use super::absolute;
use crate::admin::request::{AdminRequest, RestoreRequest};

const BACKUP: &str = "\
The file is written by the gateway, readable by its user only. It holds sealed secrets: keep the keys that
open them elsewhere.

Example:
  doorward admin backup /var/backups/doorward-2026-11-22.jsonl";

const RESTORE: &str = "\
Without --yes it changes nothing and tells what it would do.

Everything becomes as it was, but what has ended since stays ended: whoever and whatever the store of now, or the
audit log, says was disabled, removed or revoked is revoked again, and every unused token is void. If not all of
that can be known, the store stays closed, and everything denied, until you confirm what is listed.

The gateway must run: start one that is down first, on a new machine with an empty state folder and the file of
[store] key as it was. A backup of an SQLite store restores into PostgreSQL, and the other way round.

Examples:
  doorward admin restore /var/backups/doorward-2026-11-22.jsonl
  doorward admin restore /var/backups/doorward-2026-11-22.jsonl --yes
  doorward admin restore --confirm";

#[derive(Debug, Args)]
#[command(after_help = BACKUP)]
pub(super) struct Backup {
    /// Where to; it must not exist
    file: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = RESTORE)]
pub(super) struct Restore {
    /// The backup
    #[arg(required_unless_present = "confirm")]
    file: Option<PathBuf>,
    /// Do it: everything since the backup goes
    #[arg(long, conflicts_with = "confirm")]
    yes: bool,
    /// Open the store after a restore that could not revoke everything again
    #[arg(long, conflicts_with = "file")]
    confirm: bool,
}

impl Backup {
    pub fn request(self) -> Result<AdminRequest, String> {
        Ok(AdminRequest::Backup { file: absolute(&self.file)? })
    }
}

impl Restore {
    pub fn request(self) -> Result<AdminRequest, String> {
        Ok(AdminRequest::Restore(match self.file {
            Some(file) => RestoreRequest::From { file: absolute(&file)?, yes: self.yes },
            None => RestoreRequest::Confirm,
        }))
    }
}
