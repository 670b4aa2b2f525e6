//! A provider that is not configured yet: what it is asked as, and the `[[provider]]` section for it.
//! It trusts it with nothing. Always true: the section is read by the same walker as any other, once the
//! file with the client secret is there.

use std::fmt::Write;

use control::oidc::ProviderSpec;
use protocol::id::ProviderId;

use super::{effective::quoted, provider::SCOPES};

/// Microsoft's `sub` is another for every client, its `oid` is the person.
const MICROSOFT: &str = "https://login.microsoftonline.com/";
/// Google knows no scope `offline_access`: it is asked for a refresh token by a parameter of its own.
const GOOGLE: &str = "https://accounts.google.com";
/// What comes behind an issuer at the address people copy.
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// What is asked before anybody has registered us there.
pub fn newcomer(name: ProviderId, issuer: &str) -> ProviderSpec {
    let issuer = issuer.strip_suffix(DISCOVERY).unwrap_or(issuer);
    let scopes = if issuer == GOOGLE { &SCOPES[..2] } else { &SCOPES[..] };
    let scopes = scopes.iter().map(ToString::to_string).collect();
    ProviderSpec { scopes, ..ProviderSpec::new(name, issuer, "unknown") }
}

/// What to write into doorward.toml for it.
pub fn section(spec: &ProviderSpec) -> String {
    let (name, issuer) = (&spec.id, &spec.issuer);
    let host = issuer.trim_start_matches("https://").split('/').next().unwrap_or_default();
    let mut text = format!(
        "\
[[provider]]
# People and groups of this provider are called {name}/...: choose it now, since they keep it.
name = {}
# What people read where they sign in.
label = {}
issuer = {}
# How the provider calls this gateway, and a file that only the gateway can read with the secret it made.
# For a public client, leave client_secret out.
client_id = {}
client_secret = {}
# E-mail domains and groups it may speak for. Empty: none. All groups: [\"*\"].
domains = []
groups = []
",
        quoted(name),
        quoted(host),
        quoted(issuer),
        quoted(&spec.client_id),
        quoted(format_args!("{name}.secret")),
    );
    if issuer.starts_with(MICROSOFT) {
        text.push_str("# Microsoft's sub is another for every application; oid is the person.\n");
        text.push_str("id_claim = \"oid\"\n");
    }
    if issuer == GOOGLE {
        let scopes: Vec<String> = spec.scopes.iter().map(quoted).collect();
        let _ = writeln!(text, "scopes = [{}]", scopes.join(", "));
        text.push_str("# How Google is asked for a refresh token.\n");
        text.push_str("[provider.authorize]\naccess_type = \"offline\"\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::testing::Company;

    #[test]
    fn a_section_that_was_pasted_is_read() {
        for (issuer, parameters) in [
            ("https://login.corp.example", 0),
            ("https://login.corp.example/realms/\"a\"/.well-known/openid-configuration", 0),
            ("https://login.microsoftonline.com/0b2f/v2.0", 0),
            ("https://accounts.google.com", 1),
        ] {
            let spec = newcomer("acme".parse().unwrap(), issuer);
            let company = Company::new(&section(&spec), "");
            company.write("acme.secret", "s3cret\n");
            let secret = company.folder().join("acme.secret");
            fs::set_permissions(secret, fs::Permissions::from_mode(0o600)).unwrap();
            let files = company.files();
            let [provider] = files.config.providers.as_slice() else { panic!("{issuer}: one provider") };
            assert_eq!((&provider.spec.issuer, &provider.spec.scopes), (&spec.issuer, &spec.scopes));
            assert_eq!(provider.spec.authorize.len(), parameters, "{issuer}");
            assert!(provider.spec.domains.is_empty() && !provider.spec.issuer.contains("well-known"));
        }
    }
}
