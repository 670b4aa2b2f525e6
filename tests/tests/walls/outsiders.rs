//! What others wrote and we build on, held to `deny.toml`: licences, bans, features, single versions.
//! Security advisories need the network and are cargo-deny's.

use std::{collections::BTreeMap, fs};

use cargo_metadata::{DependencyKind, Metadata, Package};
use toml::{Table, Value};

use crate::{licence, metadata};

fn rules(metadata: &Metadata) -> Table {
    let text = fs::read_to_string(metadata.workspace_root.join("deny.toml")).expect("deny.toml is committed");
    text.parse().expect("deny.toml is TOML")
}

fn rows<'a>(rules: &'a Table, section: &str, key: &str) -> &'a [Value] {
    let found = rules.get(section).and_then(|section| section.get(key)).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("deny.toml has no list {section}.{key}"))
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("{row:?} has no {key}"))
}

/// Every package that is really part of a build, with the features it is built with.
fn built(metadata: &Metadata) -> Vec<(&Package, Vec<String>)> {
    let graph = metadata.resolve.as_ref().expect("cargo metadata resolves");
    let features = |node: &cargo_metadata::Node| node.features.iter().map(ToString::to_string).collect();
    graph.nodes.iter().map(|node| (&metadata[&node.id], features(node))).collect()
}

#[test]
fn every_licence_is_one_we_accept() {
    let metadata = metadata();
    let rules = rules(&metadata);
    let allowed: Vec<_> = rows(&rules, "licenses", "allow").iter().filter_map(Value::as_str).collect();
    let known = |name: &str| allowed.contains(&name);
    for (package, _) in built(&metadata) {
        let licence = package.license.as_deref().unwrap_or_default();
        assert!(
            licence::permits(licence, &known),
            "{} {}: licence {licence:?}",
            package.name,
            package.version
        );
    }
}

#[test]
fn nothing_banned_is_built() {
    let metadata = metadata();
    let rules = rules(&metadata);
    let built = built(&metadata);
    for row in rows(&rules, "bans", "deny") {
        let versions = built.iter().filter(|(package, _)| package.name == text(row, "crate")).count();
        let limit = usize::from(row.get("deny-multiple-versions").is_some());
        assert!(versions <= limit, "{} ({versions} versions): {}", text(row, "crate"), text(row, "reason"));
    }
    let banned: BTreeMap<_, _> =
        rows(&rules, "bans", "features").iter().map(|row| (text(row, "crate"), row)).collect();
    for (package, features) in &built {
        let Some(row) = banned.get(package.name.as_str()) else { continue };
        let deny = row.get("deny").and_then(Value::as_array).expect("a list of features");
        let found = deny.iter().filter_map(Value::as_str).find(|name| features.iter().any(|f| f == name));
        assert_eq!(found, None, "{}: {}", package.name, text(row, "reason"));
    }
}

/// `make fuzz` builds by a lock file of its own, which nothing else reads.
#[test]
fn the_fuzz_targets_are_locked_to_what_our_crates_need() {
    let metadata = metadata();
    let text = fs::read_to_string(metadata.workspace_root.join("fuzz/Cargo.lock")).expect("it is committed");
    let lock: Table = text.parse().expect("a lock file is TOML");
    let mut ours = 0;
    for locked in lock["package"].as_array().expect("packages") {
        let name = self::text(locked, "name");
        // A smaller one of the same name stands in for it there.
        let replaced = metadata.workspace_root.join("fuzz").join(name).exists();
        let package = metadata.workspace_packages().into_iter().find(|package| package.name == name);
        let Some(package) = package.filter(|_| !replaced) else { continue };
        ours += 1;
        let named = locked.get("dependencies").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let named: Vec<_> = named.iter().filter_map(|name| name.as_str()?.split(' ').next()).collect();
        for needed in &package.dependencies {
            let known =
                needed.kind != DependencyKind::Normal || needed.optional || named.contains(&&*needed.name);
            assert!(known, "fuzz/Cargo.lock: {name} needs {}; run `cargo update -w` in fuzz/", needed.name);
        }
    }
    assert!(ours > 2, "{ours} of our crates");
}
