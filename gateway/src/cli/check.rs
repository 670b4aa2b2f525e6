//! `doorward check`: everything the gateway would load, loaded and thrown away.
//! It changes nothing, not even the addresses of new devices and apps.

use std::path::Path;

use policy::{Engine, PolicyFile};

use super::now;
use crate::config::{self, Config, Directory, address};

/// What there is to say, and whether the gateway would start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Lines for the person who asked.
    pub text: String,
    /// No mistakes; warnings do not count.
    pub ok: bool,
}

/// Loads doorward.toml, and with it the directory, the policies and the kept addresses.
pub fn run(file: &Path) -> Checked {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => return Checked { text: format!("{error}\n"), ok: false },
    };
    let mut mistakes = Vec::new();
    let directory = config::load_directory(&config.gateway.directory, &config.tunnel);
    let directory = directory.map_err(|error| mistakes.push(error.to_string())).ok();
    let policies = load_policies(&config).map_err(|error| mistakes.push(error)).ok();
    if let Some(directory) = &directory
        && let Err(error) = address::preview(&config, directory, now())
    {
        mistakes.push(error.to_string());
    }
    match (directory, policies) {
        (Some(directory), Some(policies)) if mistakes.is_empty() => {
            Checked { text: said(&config, &directory, &policies), ok: true }
        }
        _ => Checked { text: format!("{}\n", mistakes.join("\n")), ok: false },
    }
}

fn load_policies(config: &Config) -> Result<Engine, String> {
    let files: Vec<PolicyFile> = config.policy.read().map_err(|error| error.to_string())?;
    Engine::load(&files, &config.policy.zones).map_err(|error| error.to_string())
}

fn said(config: &Config, directory: &Directory, policies: &Engine) -> String {
    let mut lines: Vec<String> =
        config.warnings.iter().map(|warning| format!("warning: {warning}")).collect();
    lines.extend(policies.lints().iter().map(ToString::to_string));
    let counts = [
        count(config.apps.len(), "app", "apps"),
        count(config.subnets.len(), "subnet", "subnets"),
        count(config.sites.names.len(), "site", "sites"),
        count(config.connectors.known.len(), "connector", "connectors"),
        count(directory.users.len(), "user", "users"),
        count(directory.devices.len(), "device", "devices"),
        count(policies.len(), "policy", "policies"),
    ];
    lines.push(format!("ok: {}", counts.join(", ")));
    lines.join("\n") + "\n"
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::cli::init;

    fn made(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("doorward-check-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        init::run(&folder).unwrap();
        folder
    }

    #[test]
    fn what_init_makes_is_ok() {
        let folder = made("ok");
        let checked = run(&folder.join("doorward.toml"));
        assert!(checked.ok, "{}", checked.text);
        let last = checked.text.lines().last();
        assert_eq!(
            last,
            Some("ok: 0 apps, 0 subnets, 0 sites, 0 connectors, 0 users, 0 devices, 5 policies")
        );
        assert!(!folder.join("state").exists(), "nothing is written");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn mistakes_of_directory_and_policies_are_told_together() {
        let folder = made("both");
        fs::write(folder.join("directory.toml"), "[[user]]\nid = \"alice\"\n").unwrap();
        fs::write(folder.join("policies/more.cedar"), "permit (principal, action, resource);\n").unwrap();
        let checked = run(&folder.join("doorward.toml"));
        assert!(!checked.ok);
        assert!(checked.text.contains("directory.toml:2:6: user[0].id: "), "{}", checked.text);
        assert!(checked.text.contains("more.cedar"), "{}", checked.text);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_missing_file_is_told() {
        let checked = run(Path::new("/nowhere/doorward.toml"));
        assert_eq!(
            checked.text,
            "cannot read /nowhere/doorward.toml: No such file or directory (os error 2)\n"
        );
        assert!(!checked.ok);
    }
}
