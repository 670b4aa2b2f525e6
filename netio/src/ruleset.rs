//! The one nftables rule set of the gateway: TCP from the TUN goes to the transparent listeners,
//! everything else from the TUN is dropped. It is loaded through `nft`, whole or not at all.
//! Always true: no packet from the TUN reaches a socket that is not one of our listeners.

use std::{borrow::Cow, env, path::PathBuf};

use nftables::{
    batch::Batch,
    expr::{Expression, Meta, MetaKey, NamedExpression},
    helper::{NftablesError, apply_ruleset_with_args},
    schema::{Chain, NfCmd, NfListObject, Nftables, Rule, Table},
    stmt::{Accept, Drop, Match, Operator, Statement, TProxy},
    types::{NfChainPolicy, NfChainType, NfFamily, NfHook},
};

use crate::error::{SetUpError, Step};

const TABLE: &str = "doorward";
const CHAIN: &str = "from_tunnel";

/// NF_IP_PRI_MANGLE (linux/netfilter_ipv4.h): where TPROXY belongs, before routing.
const MANGLE: i32 = -150;

/// Loads the rule set into the caller's network namespace, replacing an earlier one of ours.
pub(crate) fn load(interface: &str, proxy_port: u16) -> Result<(), SetUpError> {
    let nft = find_nft().ok_or_else(|| {
        SetUpError::new(Step::Ruleset, "the program nft is not installed", "install the package nftables")
    })?;
    apply_ruleset_with_args(&ruleset(interface, proxy_port), Some(nft.as_os_str()), NO_ARGUMENTS)
        .map_err(explain)
}

const NO_ARGUMENTS: &[&str] = &[];

/// An unprivileged user's PATH often lacks the sbin folders.
fn find_nft() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(sbin).map(|folder| folder.join("nft")).find(|file| file.is_file())
}

fn ruleset(interface: &str, proxy_port: u16) -> Nftables<'static> {
    let ours = || Table { family: NfFamily::INet, name: TABLE.into(), handle: None };
    let mut batch = Batch::new();
    // Adding before deleting makes the deletion succeed on the first run; all is one transaction.
    batch.add(NfListObject::Table(ours()));
    batch.add_cmd(NfCmd::Delete(NfListObject::Table(ours())));
    batch.add(NfListObject::Table(ours()));
    batch.add(NfListObject::Chain(Chain {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: CHAIN.into(),
        _type: Some(NfChainType::Filter),
        hook: Some(NfHook::Prerouting),
        prio: Some(MANGLE),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    }));
    let from_tun = is(MetaKey::Iifname, interface);
    batch.add(rule(vec![
        from_tun.clone(),
        is(MetaKey::L4proto, "tcp"),
        Statement::TProxy(TProxy { family: None, port: proxy_port, addr: None }),
        Statement::Accept(Some(Accept {})),
    ]));
    batch.add(rule(vec![from_tun, Statement::Drop(Some(Drop {}))]));
    batch.to_nftables()
}

fn is(key: MetaKey, value: &str) -> Statement<'static> {
    Statement::Match(Match {
        left: Expression::Named(NamedExpression::Meta(Meta { key })),
        right: Expression::String(Cow::Owned(value.to_owned())),
        op: Operator::EQ,
    })
}

fn rule(statements: Vec<Statement<'static>>) -> NfListObject<'static> {
    NfListObject::Rule(Rule {
        family: NfFamily::INet,
        table: TABLE.into(),
        chain: CHAIN.into(),
        expr: statements.into(),
        ..Rule::default()
    })
}

fn explain(error: NftablesError) -> SetUpError {
    let NftablesError::NftFailed { stderr, .. } = &error else {
        return SetUpError::new(Step::Ruleset, error, "check that nft runs (nft --version)");
    };
    let said = stderr.trim();
    let remedy = if said.contains("Operation not permitted") {
        "NET_ADMIN over this network namespace is needed"
    } else if said.contains("No such file") || said.contains("not supported") {
        "the kernel lacks TPROXY: modprobe nft_tproxy nf_tables"
    } else {
        "nft with JSON support, version 0.9.1 or newer, is needed"
    };
    SetUpError::new(Step::Ruleset, format!("nft said: {said}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(stderr: &str) -> NftablesError {
        NftablesError::NftFailed {
            program: "nft".into(),
            hint: String::new(),
            stdout: String::new(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn tcp_is_proxied_and_the_rest_dropped() {
        let text = serde_json::to_string(&ruleset("door0", 4040)).unwrap();
        let tproxy = text.find(r#""tproxy":{"port":4040}"#).unwrap();
        assert!(text.find(r#"{"drop":"#).is_some_and(|drop| drop > tproxy), "{text}");
    }

    #[test]
    fn nft_errors_name_their_remedy() {
        let missing = explain(failure("Error: Could not process rule: No such file or directory"));
        assert!(missing.remedy.contains("modprobe nft_tproxy"));
        assert!(explain(failure("Operation not permitted")).remedy.contains("NET_ADMIN"));
    }
}
