//! Which crate of ours may depend on which, and what the pure ones must not know of.
//! Tests' and benches' own dependencies are not arrows of the product.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Package};

use crate::metadata;

/// Ours: what each may depend on. A crate that is not here has no right to anything.
const MAY: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("policy", &["protocol"]),
    ("tunnel", &["protocol"]),
    ("netio", &[]),
    ("control", &["protocol", "policy"]),
    ("connector", &["protocol"]),
    ("device", &["protocol", "tunnel", "netio"]),
    ("gateway", &["protocol", "policy", "tunnel", "netio", "control", "connector"]),
    // People sign in there during demos and tests. To the gateway it is one more https issuer: nothing links it.
    ("devprovider", &["protocol"]),
    ("tests", &["protocol", "policy", "tunnel", "netio", "control", "connector", "device", "gateway"]),
    // The two ends of the link are measured without a gateway around them.
    // So are policy and the engines of the store, and thousands of devices are client ends of the tunnel in
    // one process.
    ("bench", &["tests", "policy", "protocol", "connector", "control", "tunnel"]),
];

/// Crates that take time and chance as arguments and do no I/O.
const PURE: &[&str] = &["protocol", "policy", "tunnel"];

/// What a pure crate must not depend on, with the reason.
const IMPURE: &[(&[&str], &str)] = &[
    (&["tokio", "tokio-util", "mio", "async-std", "futures"], "tasks and timers belong to the shell"),
    (&["axum", "pingora", "hyper", "reqwest"], "HTTP belongs to the gateway"),
    (&["quinn", "rustls", "tokio-rustls"], "sockets and their security belong to the shell"),
    (&["rand", "rand_core", "getrandom", "fastrand"], "chance is an argument, so that a seed replays a run"),
    (&["nix", "libc", "rustix", "socket2"], "system calls belong to netio"),
    (&["tracing", "log"], "a pure crate returns what happened; the shell writes the log"),
];

fn arrows(package: &Package) -> impl Iterator<Item = &str> {
    let shipped = package.dependencies.iter().filter(|on| on.kind != DependencyKind::Development);
    shipped.map(|on| on.name.as_str())
}

#[test]
fn arrows_between_our_crates_only_point_down() {
    let metadata = metadata();
    let may: BTreeMap<_, _> = MAY.iter().copied().collect();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let allowed =
            may.get(name).unwrap_or_else(|| panic!("{name} is new: say in MAY what it may depend on"));
        for on in arrows(package).filter(|on| may.contains_key(on)) {
            assert!(allowed.contains(&on), "{name} must not depend on {on}: ARCHITECTURE.md, the crates");
        }
    }
}

#[test]
fn pure_crates_know_neither_clock_nor_chance_nor_io() {
    let metadata = metadata();
    for package in
        metadata.workspace_packages().iter().filter(|package| PURE.contains(&package.name.as_str()))
    {
        for on in arrows(package) {
            let reason = IMPURE.iter().find(|(names, _)| names.contains(&on));
            assert!(
                reason.is_none(),
                "{} must not depend on {on}: {}",
                package.name,
                reason.map_or("", |r| r.1)
            );
        }
    }
}
