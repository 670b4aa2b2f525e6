//! `doorward check`: everything the gateway would load, loaded and thrown away; with `--providers`, each is
//! asked as well, by the network of this machine.
//! It changes nothing and opens no store: what is kept there is the running gateway's to check.

use std::path::Path;

use control::{oidc::Provider, seal::Keyring};
use policy::{Engine, PolicyFile};

use crate::{
    config::{self, Config},
    registration::{failed, look_over},
};

/// What there is to say, and whether the gateway would start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Lines for the person who asked.
    pub text: String,
    /// No mistakes; warnings do not count.
    pub ok: bool,
}

/// Loads doorward.toml, and with it the policies and the keys of the store, which it does not open; if there
/// is no mistake, looks the `providers` over.
pub fn run(file: &Path, providers: bool) -> Checked {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => return Checked { text: format!("{error}\n"), ok: false },
    };
    let mut mistakes = Vec::new();
    if let Err(error) = Keyring::read(&config.store.key) {
        mistakes.push(format!("{}: store.key: {error}", file.display()));
    }
    let policies = load_policies(&config).map_err(|error| mistakes.push(error)).ok();
    match policies {
        Some(policies) if mistakes.is_empty() => {
            let checked = Checked { text: said(&config, &policies), ok: true };
            if providers { looked_over(&config, checked) } else { checked }
        }
        Some(_) | None => Checked { text: format!("{}\n", mistakes.join("\n")), ok: false },
    }
}

/// With what every provider says, one after the other.
fn looked_over(config: &Config, before: Checked) -> Checked {
    let Checked { mut text, mut ok } = before;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Checked { text: format!("{text}no provider can be asked: {error}\n"), ok: false };
        }
    };
    for provider in &config.providers {
        match Provider::new(provider.spec.clone()) {
            Ok(client) => {
                let report = runtime.block_on(look_over(config, &client));
                text += &format!("\n{report}");
                ok &= failed(&report).is_none();
            }
            Err(error) => {
                text += &format!("\n{error}\n");
                ok = false;
            }
        }
    }
    Checked { text, ok }
}

fn load_policies(config: &Config) -> Result<Engine, String> {
    let files: Vec<PolicyFile> = config.policy.read().map_err(|error| error.to_string())?;
    Engine::load(&files, &config.policy.zones).map_err(|error| error.to_string())
}

fn said(config: &Config, policies: &Engine) -> String {
    let mut lines: Vec<String> =
        config.warnings.iter().map(|warning| format!("warning: {warning}")).collect();
    lines.extend(policies.lints().iter().map(ToString::to_string));
    let counts = [
        count(config.apps.len(), "app", "apps"),
        count(config.subnets.len(), "subnet", "subnets"),
        count(config.sites.names.len(), "site", "sites"),
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
    use crate::{admin::now, cli::init, tls::Authority};

    fn made(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("doorward-check-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        init::run(&folder).unwrap();
        folder
    }

    #[test]
    fn what_init_makes_is_ok() {
        let folder = made("ok");
        let checked = run(&folder.join("doorward.toml"), false);
        assert!(checked.ok, "{}", checked.text);
        let lines: Vec<&str> = checked.text.lines().collect();
        let [warning, ok] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(*ok, "ok: 0 apps, 0 subnets, 0 sites, 6 policies");
        assert!(warning.contains("nobody can sign in"), "{warning}");
        assert!(!folder.join("state").exists(), "nothing is written");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn mistakes_of_keys_and_policies_are_told_together() {
        let folder = made("both");
        fs::write(folder.join("store.key"), "nonsense\n").unwrap();
        fs::write(folder.join("policies/more.cedar"), "permit (principal, action, resource);\n").unwrap();
        let checked = run(&folder.join("doorward.toml"), false);
        assert!(!checked.ok);
        assert!(checked.text.contains("store.key"), "{}", checked.text);
        assert!(checked.text.contains("more.cedar"), "{}", checked.text);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_provider_is_asked_if_that_is_wanted() {
        let folder = made("provider");
        let file = folder.join("doorward.toml");
        let (ca, _) = Authority::create(&["corp.example".to_owned()], now()).unwrap();
        fs::write(folder.join("ca.pem"), ca).unwrap();
        let more = "[[provider]]\nname = \"corp\"\nissuer = \"https://127.0.0.1:1\"\nclient_id = \"x\"\nca = \"ca.pem\"\n";
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}{more}")).unwrap();
        let checked = run(&file, false);
        assert!(checked.ok && !checked.text.contains("FAULT"), "{}", checked.text);
        let checked = run(&file, true);
        assert!(!checked.ok && checked.text.contains("cannot be reached"), "{}", checked.text);
        assert!(checked.text.contains("/callback/corp"), "{}", checked.text);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_missing_file_is_told() {
        let checked = run(Path::new("/nowhere/doorward.toml"), false);
        assert_eq!(
            checked.text,
            "cannot read /nowhere/doorward.toml: No such file or directory (os error 2)\n"
        );
        assert!(!checked.ok);
    }
}
