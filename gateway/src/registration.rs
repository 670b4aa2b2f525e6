//! What a provider and this gateway have to know of each other, and a provider looked over for the
//! operator. It signs nobody in and changes nothing. Always true: the addresses to be entered at a provider
//! are those that the door and `[join]` of this configuration answer at.

use control::{
    admin::Answer,
    oidc::{Addresses, GroupsAllowed, Provider, ProviderSpec, Report, SpecError, Verdict},
};
use protocol::id::ProviderId;

use crate::{
    admin::now,
    config::{self, Config},
    door::Door,
};

/// What is to be entered at `provider`.
pub fn addresses(config: &Config, provider: &ProviderId) -> Addresses {
    let back = |join: &config::Join| format!("https://{}/backchannel-logout/{provider}", join.name);
    Addresses {
        redirect_uris: vec![Door::callback(&config.door.origin(), provider)],
        post_logout_redirect_uris: vec![config.door.signed_out()],
        backchannel_logout_uri: config.join.as_ref().map(back),
    }
}

/// Looks over a provider of the configuration.
pub async fn look_over(config: &Config, provider: &Provider) -> Report {
    provider.check(addresses(config, provider.id()), now()).await
}

/// Looks over one that is none yet, as far as that goes; and what to write for it.
///
/// # Errors
/// There can be no such provider.
pub async fn look_over_new(
    config: &Config,
    name: ProviderId,
    issuer: &str,
) -> Result<(Report, String), SpecError> {
    let spec = config::newcomer(name, issuer);
    let section = config::section(&spec);
    // It is trusted with nothing: this only has the check look whether it says anything of people at all.
    let groups = control::oidc::Groups { allowed: GroupsAllowed::All, ..spec.groups.clone() };
    let spec = ProviderSpec { domains: config.dns.zones.clone(), groups, ..spec };
    Ok((look_over(config, &Provider::new(spec)?).await, section))
}

/// What whoever asked is told of it; `section` is what to write.
pub fn told(report: &Report, section: Option<String>) -> Answer {
    let mut data = serde_json::to_value(report).unwrap_or_default();
    data["verdict"] = serde_json::to_value(report.verdict()).unwrap_or_default();
    let mut text = report.to_string();
    if let Some(section) = section {
        text += "write into doorward.toml, and `doorward reload`:\n\n";
        text += &section;
        data["section"] = section.into();
    }
    Answer { data, text: Some(text), failed: failed(report), ..Answer::default() }
}

/// Why the command fails, if it does.
pub fn failed(report: &Report) -> Option<String> {
    let fault = report.verdict() == Verdict::Fault;
    fault.then(|| format!("provider {} does not work as it is: see FAULT above", report.provider))
}
