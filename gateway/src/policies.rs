//! The policy folder as one unit: read until it is quiet, loaded whole or not at all.
//! It does not put anything in force. Always true: a folder that reads as it did when it was loaded
//! is not loaded again; one that is still being written is not loaded at all.

use std::{sync::Arc, thread, time::Duration};

use policy::{Engine, PolicyFile, Zone};

use crate::config::Config;

/// A changed folder must read the same twice, this far apart, before it counts as saved.
const QUIET: Duration = Duration::from_millis(300);
/// How often a folder that keeps changing is read again before the load gives up.
const TRIES: usize = 20;

/// Policies and the texts they were loaded from.
#[derive(Debug, Clone)]
pub struct Policies {
    engine: Arc<Engine>,
    files: Vec<PolicyFile>,
    zones: Vec<Zone>,
}

impl Policies {
    /// Loads the folder that `config` names, blocking until it is quiet. `in_force` serves again if
    /// nothing changed.
    pub fn load(config: &Config, in_force: Option<&Self>) -> Result<Self, String> {
        let mut files = texts(config)?;
        if let Some(old) = in_force.filter(|old| old.files == files && old.zones == config.policy.zones) {
            return Ok(old.clone());
        }
        for _ in 0..TRIES {
            thread::sleep(QUIET);
            let again = texts(config)?;
            if again == files {
                return Self::parse(files, config.policy.zones.clone());
            }
            files = again;
        }
        let folder = config.policy.dir.display();
        Err(format!("{folder}: the policies keep changing while they are read; nothing was loaded"))
    }

    /// Loads `files` as they are.
    pub fn parse(files: Vec<PolicyFile>, zones: Vec<Zone>) -> Result<Self, String> {
        let engine = Engine::load(&files, &zones).map_err(|errors| errors.to_string())?;
        Ok(Self { engine: Arc::new(engine), files, zones })
    }

    /// Ready to decide.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The texts it was loaded from.
    pub fn files(&self) -> &[PolicyFile] {
        &self.files
    }
}

/// Every file of the folder as it stands.
pub fn texts(config: &Config) -> Result<Vec<PolicyFile>, String> {
    config.policy.read().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;
    use crate::testing::Company;

    const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);";
    const FORBID: &str = "@id(\"none\") forbid (principal, action, resource);";

    #[test]
    fn a_folder_that_did_not_change_is_not_loaded_again() {
        let company = Company::new("", PERMIT);
        let files = company.files();
        let again = Policies::load(&files.config, Some(&files.policies)).expect("loaded");
        assert!(Arc::ptr_eq(again.engine(), files.policies.engine()));
        company.write_policies(FORBID);
        let changed = Policies::load(&files.config, Some(&files.policies)).expect("loaded");
        assert_eq!(changed.engine().forbids().count(), 1);
    }

    #[test]
    fn a_folder_is_loaded_as_it_reads_twice() {
        let company = Company::new("", PERMIT);
        let config = company.files().config;
        // Pipes show when each file is read: the second is read out when the first opens again.
        let [first, second] = ["x.cedar", "y.cedar"].map(|name| company.folder().join("policies").join(name));
        for pipe in [&first, &second] {
            mkfifo(pipe, Mode::S_IRWXU).expect("a pipe");
        }
        let editor = thread::spawn(move || {
            for guard in ["", FORBID, FORBID] {
                std::fs::write(&first, "").expect("read");
                std::fs::write(&second, guard).expect("read");
            }
        });
        let loaded = Policies::load(&config, None).expect("loaded");
        assert_eq!(loaded.engine().forbids().count(), 1, "half of the folder came into force");
        editor.join().expect("every text was read");
    }

    #[test]
    fn a_mistake_in_one_file_loads_none() {
        let company = Company::new("", PERMIT);
        let config = company.files().config;
        company.write("policies/other.cedar", "@id(\"half\") permit (principal, act");
        let mistakes = Policies::load(&config, None).expect_err("half a policy");
        assert!(mistakes.contains("other.cedar:1:"), "{mistakes}");
    }
}
