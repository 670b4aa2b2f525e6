//! `doorward admin import`. It reads the file and understands nothing of it. Always true: what is
//! asked is what stands in the file now.

use std::path::PathBuf;

use clap::Args;

use super::absolute;
use crate::admin::request::AdminRequest;

const EXAMPLES: &str = "\
Examples:
  doorward admin import directory.toml --dry-run
  doorward admin import directory.toml";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Import {
    /// A directory.toml
    file: PathBuf,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
    /// Also remove people, groups and devices that are not in it
    #[arg(long)]
    prune: bool,
    /// Also let in keys that were taken away, and people who were disabled
    #[arg(long)]
    again: bool,
}

impl Import {
    pub fn request(self) -> Result<AdminRequest, String> {
        let Self { file, dry_run, prune, again } = self;
        let text = std::fs::read_to_string(&file);
        let text = text.map_err(|error| format!("{}: cannot be read: {error}", file.display()))?;
        Ok(AdminRequest::Import { text, file: absolute(&file)?, prune, again, dry_run })
    }
}
