//! Looks a provider over for the operator: what it can, what it lacks and what to do about it.
//! It asks for what anyone may ask for and signs nobody in. Always true: what cannot be known without a sign-in
//! is said to be so, not guessed.

use std::fmt;

use protocol::{id::ProviderId, time::Timestamp};

use super::{
    discovery::{self, Discovery},
    error::ProviderError,
    provider::Provider,
    token::ALGORITHMS,
};

/// Our addresses, as the provider has to know them.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Addresses {
    /// Where browsers come back to after signing in.
    pub redirect_uris: Vec<String>,
    /// Where browsers come back to after signing out.
    pub post_logout_redirect_uris: Vec<String>,
    /// Where the provider says that someone signed out.
    pub backchannel_logout_uri: Option<String>,
}

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, with less.
    Warning,
    /// It does not work.
    Fault,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How good it is.
    pub verdict: Verdict,
    /// What it is.
    pub what: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// All that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Of which provider.
    pub provider: ProviderId,
    /// Its name for itself.
    pub issuer: String,
    /// In the order they were looked at.
    pub findings: Vec<Finding>,
    /// What to enter at the provider, exactly.
    pub register: Addresses,
}

impl Report {
    /// The worst of it.
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
    }

    fn ok(&mut self, what: impl Into<String>) {
        self.findings.push(Finding { verdict: Verdict::Ok, what: what.into(), remedy: None });
    }

    fn warn(&mut self, what: impl Into<String>, remedy: &str) {
        let remedy = Some(remedy.to_owned());
        self.findings.push(Finding { verdict: Verdict::Warning, what: what.into(), remedy });
    }

    fn fault(&mut self, what: impl Into<String>, remedy: &str) {
        let remedy = Some(remedy.to_owned());
        self.findings.push(Finding { verdict: Verdict::Fault, what: what.into(), remedy });
    }

    /// Of a list the provider may not give at all.
    fn offers(&mut self, offered: Option<&[String]>, wanted: &str, what: &str, remedy: &str) {
        match offered {
            Some(offered) if offered.iter().any(|o| o == wanted) => self.ok(format!("{what}: {wanted}")),
            Some(_) => self.warn(format!("{what}: {wanted} is not offered"), remedy),
            None => self.warn(format!("{what}: it does not say whether {wanted} is offered"), remedy),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "provider {} ({})", self.provider, self.issuer)?;
        for Finding { verdict, what, remedy } in &self.findings {
            let mark = match verdict {
                Verdict::Ok => "ok     ",
                Verdict::Warning => "WARNING",
                Verdict::Fault => "FAULT  ",
            };
            writeln!(f, "  {mark}  {what}")?;
            if let Some(remedy) = remedy {
                writeln!(f, "           -> {remedy}")?;
            }
        }
        writeln!(f, "register at the provider, exactly:")?;
        for uri in &self.register.redirect_uris {
            writeln!(f, "  redirect URI              {uri}")?;
        }
        for uri in &self.register.post_logout_redirect_uris {
            writeln!(f, "  post-logout redirect URI  {uri}")?;
        }
        let uri = self.register.backchannel_logout_uri.as_deref();
        let uri = uri.unwrap_or("none: there is no [join] section, so it cannot end sessions here by itself");
        writeln!(f, "  back-channel logout URI   {uri}")
    }
}

impl Provider {
    /// Looks it over. `register` is what to enter there.
    pub async fn check(&self, register: Addresses, now: Timestamp) -> Report {
        let (provider, issuer) = (self.spec.id.clone(), self.spec.issuer.clone());
        let mut report = Report { provider, issuer, findings: Vec::new(), register };
        let discovery = match discovery::fetch(&self.http, &self.issuer).await {
            Ok((discovery, date)) => {
                report.ok("discovery: reachable over TLS, and the issuer is the configured one");
                self.clock(&mut report, date, now);
                discovery
            }
            Err(error) => {
                failed(&mut report, "discovery", &error);
                return report;
            }
        };
        self.keys(&mut report, &discovery).await;
        self.signing_in(&mut report, &discovery);
        self.claims(&mut report, &discovery);
        signing_out(&mut report, &discovery);
        report
    }

    fn clock(&self, report: &mut Report, date: Option<Timestamp>, now: Timestamp) {
        let remedy = "set the clocks of gateway and provider by NTP: tokens would be refused";
        let Some(date) = date else {
            return report.warn("clock: the provider does not say what time it has (Date)", remedy);
        };
        let apart = date.until(now).max(now.until(date));
        let what = format!("clock: {} s apart", apart.as_secs());
        // Date has whole seconds, and the answer took its time.
        if apart > self.spec.skew {
            report.fault(what, remedy);
        } else if apart > self.spec.skew / 2 {
            report.warn(what, remedy);
        } else {
            report.ok(what);
        }
    }

    async fn keys(&self, report: &mut Report, discovery: &Discovery) {
        match discovery::keys(&self.http, discovery).await {
            Ok(keys) if keys.keys().is_empty() => {
                let remedy = "let the provider sign by RS256 or ES256, with keys that its jwks_uri lists";
                report.fault("keys: none that could be used", remedy);
            }
            Ok(keys) => report.ok(format!("keys: {}", keys.keys().len())),
            Err(error) => failed(report, "keys", &error),
        }
        let usable: Vec<_> = ALGORITHMS.iter().filter_map(|alg| serde_json::to_value(alg).ok()).collect();
        let named = discovery.offers.id_token_signing_alg_values_supported.as_deref().unwrap_or_default();
        let common: Vec<_> =
            named.iter().filter(|name| usable.iter().any(|alg| alg == name.as_str())).collect();
        if common.is_empty() {
            report
                .fault("signatures: by no algorithm that is accepted here", "let it sign by RS256 or ES256");
        } else {
            let common: Vec<_> = common.into_iter().map(String::as_str).collect();
            report.ok(format!("signatures: {}", common.join(", ")));
        }
    }

    fn signing_in(&self, report: &mut Report, discovery: &Discovery) {
        let offers = &discovery.offers;
        let remedy = "allow the authorization code flow for this client";
        report.offers(offers.response_types_supported.as_deref(), "code", "flow", remedy);
        let remedy = "it may do so all the same; if not, sign-in is less safe against stolen codes";
        report.offers(offers.code_challenge_methods_supported.as_deref(), "S256", "PKCE", remedy);
        if self.spec.client_secret.is_some() && discovery.auth_type().is_none() {
            failed(report, "client secret", &ProviderError::NoMethod);
        }
        let has = |list: &Option<Vec<String>>, wanted: &str| list.iter().flatten().any(|item| item == wanted);
        let refresh = has(&offers.scopes_supported, "offline_access")
            || has(&offers.grant_types_supported, "refresh_token");
        if !refresh {
            let remedy = "allow refresh tokens for this client, or sessions last an hour at most";
            report.warn("refresh: it does not say that it gives refresh tokens", remedy);
        } else if has(&offers.scopes_supported, "offline_access")
            && !self.spec.scopes.iter().any(|scope| scope == "offline_access")
        {
            let remedy = "add offline_access to the provider's scopes, or sessions may last an hour at most";
            report.warn("refresh: possible, but the scope offline_access is not configured", remedy);
        } else {
            report.ok("refresh: possible");
        }
    }

    fn claims(&self, report: &mut Report, discovery: &Discovery) {
        let claims = discovery.offers.claims_supported.as_deref();
        let remedy = "without it, nothing can ask for a fresh sign-in";
        report.offers(claims, "auth_time", "claims", remedy);
        if !self.spec.domains.is_empty() {
            let remedy = "let the provider send email and email_verified, perhaps by the scope email";
            report.offers(claims, "email", "claims", remedy);
            report.offers(claims, "email_verified", "claims", remedy);
        }
        if self.spec.groups.wanted() {
            let remedy = "let the provider send the person's groups in the ID token or by userinfo";
            report.offers(claims, &self.spec.groups.claim, "claims", remedy);
            report.warn(
                "groups: whether a person's list is whole shows only when they sign in",
                "sign in as someone with many groups; Entra lists at most 200: assign groups to the application",
            );
        }
        match &discovery.userinfo_endpoint {
            Some(_) => report.ok("userinfo: offered"),
            None => report.warn("userinfo: not offered", "all claims have to be in the ID token"),
        }
    }
}

fn signing_out(report: &mut Report, discovery: &Discovery) {
    match &discovery.end_session_endpoint {
        Some(_) => report.ok("signing out here signs out at the provider: offered"),
        None => report.warn(
            "signing out here signs out at the provider: not offered (end_session_endpoint)",
            "tell people to sign out at the provider too",
        ),
    }
    match (discovery.offers.backchannel_logout_supported, &report.register.backchannel_logout_uri) {
        (Some(true), Some(_)) => report.ok("signing out at the provider is told to us: offered"),
        (Some(true), None) => report.warn(
            "signing out at the provider is told to us: offered, but no address of ours can be told",
            "configure [join]: then sessions end when the provider ends them, else at their next refresh",
        ),
        (Some(false) | None, _) => report.warn(
            "signing out at the provider is told to us: not offered (backchannel_logout_supported)",
            "it shows at the next refresh of the session",
        ),
    }
    if discovery.offers.backchannel_logout_supported == Some(true)
        && discovery.offers.backchannel_logout_session_supported != Some(true)
    {
        let remedy = "signing out of one of its sessions ends all sessions of the person here";
        report.warn("it does not say which session ended (backchannel_logout_session_supported)", remedy);
    }
}

fn failed(report: &mut Report, what: &str, error: &ProviderError) {
    let (verdict, text) = (Verdict::Fault, error.to_string());
    // The texts of errors are "what is wrong: what to do".
    let (wrong, remedy) = match text.rsplit_once(": ") {
        Some((wrong, remedy)) => (wrong.to_owned(), Some(remedy.to_owned())),
        None => (text, None),
    };
    report.findings.push(Finding { verdict, what: format!("{what}: {wrong}"), remedy });
}
