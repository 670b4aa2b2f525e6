//! `admin provider`: who signs people in, listed and looked over with the gateway's own eyes.
//! It changes nothing. Always true: what is asked of a provider is what anyone may ask; nobody is signed in.

use control::{
    admin::Answer,
    oidc::{GroupsAllowed, ProviderSpec},
};
use policy::facts::{AdminKind, Operator};
use protocol::id::ProviderId;
use serde_json::json;

use super::{Admin, request::ProviderRequest};
use crate::{
    config::{self, Config},
    registration::{look_over, look_over_new, told},
};

/// What is called so until it has a name of its own.
const NEW: &str = "new";

impl Admin {
    /// Answers a question about providers, if who asks may ask it.
    pub(super) async fn provider(
        &self,
        operator: &Operator,
        request: ProviderRequest,
    ) -> Result<Answer, String> {
        let on = AdminKind::Provider;
        match request {
            ProviderRequest::List => {
                self.permits(operator, on, false, "list").await?;
                Ok(self.listed_providers())
            }
            ProviderRequest::Check { provider, name } => {
                self.permits_on(operator, on, false, ("check", Some(&provider))).await?;
                self.check_provider(&provider, name).await
            }
        }
    }

    fn listed_providers(&self) -> Answer {
        let row = |provider: &config::Provider| {
            let spec = &provider.spec;
            let trouble = self.0.providers.trouble(provider);
            json!({
                "name": spec.id, "issuer": spec.issuer, "label": provider.label, "domains": spec.domains,
                "groups": groups(spec), "trouble": trouble.map(|(at, alarm)| format!("{at}: {alarm}")),
            })
        };
        let columns = ["name", "issuer", "label", "domains", "groups", "trouble"];
        let data = self.0.live.snapshot().config().providers.iter().map(row).collect();
        Answer { data, columns: columns.map(str::to_owned).to_vec(), ..Answer::default() }
    }

    async fn check_provider(&self, asked: &str, name: Option<ProviderId>) -> Result<Answer, String> {
        let snapshot = self.0.live.snapshot();
        let config = snapshot.config();
        let is_asked = |provider: &&config::Provider| {
            provider.spec.id.as_str() == asked || provider.spec.issuer == asked
        };
        if let Some(provider) = config.providers.iter().find(is_asked) {
            if name.is_some() {
                return Err(format!("{asked} is configured already: --name is for one that is not"));
            }
            let client =
                self.0.providers.of(provider).ok_or("it cannot be spoken to: reload, and see why")?;
            return Ok(told(&look_over(config, &client).await, None));
        }
        if !asked.contains("://") {
            return Err(nobody(config, asked));
        }
        let name = name.unwrap_or_else(|| NEW.parse().expect("it is a name"));
        if let Some(other) = config.providers.iter().find(|provider| provider.spec.id == name) {
            let issuer = &other.spec.issuer;
            return Err(format!("provider {name} is configured, as {issuer}: choose another --name"));
        }
        let looked_over = look_over_new(config, name, asked).await;
        let (report, section) = looked_over.map_err(|error| error.to_string())?;
        Ok(told(&report, Some(section)))
    }
}

/// For which groups it may speak: its own by its own names, and ours that are mapped.
fn groups(spec: &ProviderSpec) -> Vec<String> {
    let own = match &spec.groups.allowed {
        GroupsAllowed::All => vec!["*".to_owned()],
        GroupsAllowed::Named(names) => names.iter().cloned().collect(),
    };
    own.into_iter().chain(spec.groups.names.values().map(ToString::to_string)).collect()
}

fn nobody(config: &Config, asked: &str) -> String {
    let names: Vec<&str> = config.providers.iter().map(|provider| provider.spec.id.as_str()).collect();
    let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    format!(
        "there is no [[provider]] {asked}; there is: {there}. One that is to be: name its issuer, https://..."
    )
}
