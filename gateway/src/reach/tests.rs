//! Which resource stands at an address, over a real configuration.

use super::*;
use crate::testing::{Company, address};

const RESOURCES: &str = r#"
[[app]]
name = "wiki"
site = "local"
kind = "http"
hosts = ["wiki.corp.example"]
upstream = "http://10.50.0.7:8080"
address = "100.64.128.7"
[[app]]
name = "plain"
site = "local"
kind = "http"
hosts = ["plain.corp.example"]
tls = false
ports = [80, 8080]
upstream = "http://10.50.0.17:8080"
address = "100.64.128.17"
[[app]]
name = "desk"
site = "local"
kind = "tcp"
hosts = ["desk.corp.example"]
ports = [22, 5432]
target = "10.50.0.9"
address = "100.64.128.9"
[[app]]
name = "open"
site = "local"
kind = "tcp"
hosts = ["open.corp.example"]
ports = [22]
target = "10.50.0.10"
also_by_subnet = true
address = "100.64.128.10"
[[app]]
name = "named"
site = "local"
kind = "tcp"
hosts = ["named.corp.example"]
ports = [22]
target = "db.internal"
address = "100.64.128.11"
[[subnet]]
name = "broad"
site = "local"
cidr = "10.50.0.0/16"
[[subnet]]
name = "narrow"
site = "local"
cidr = "10.50.0.0/24"
[[subnet]]
name = "six"
site = "local"
cidr = "fd50::/64"
"#;

/// What stands at each address, in a word or two.
fn at(to: &str) -> String {
    thread_local! {
        static SNAPSHOT: std::sync::Arc<crate::snapshot::Snapshot> = Company::new(RESOURCES, "").snapshot(1);
    }
    match SNAPSHOT.with(|snapshot| snapshot.resolve(address(to))) {
        Destination::Front { app, speaks } => format!("{speaks:?} {app}"),
        Destination::App { app, target } => format!("app {app} {target}"),
        Destination::Subnet { subnet, target } => format!("subnet {subnet} {target}"),
        Destination::Through { app, target } => format!("through {app} {target}"),
        Destination::Door { secure } => format!("door {secure}"),
        Destination::Dns => "dns".to_owned(),
        Destination::NoSuchPort { app } => format!("no port of {app}"),
        Destination::Nothing => "nothing".to_owned(),
    }
}

#[test]
fn an_apps_own_address_has_its_ports_and_no_other() {
    assert_eq!(at("100.64.128.7:443"), "Https wiki");
    assert_eq!(at("100.64.128.7:80"), "ToHttps wiki");
    assert_eq!(at("100.64.128.7:8080"), "no port of wiki");
    assert_eq!(at("100.64.128.17:80"), "Http plain");
    assert_eq!(at("100.64.128.17:8080"), "Http plain");
    assert_eq!(at("100.64.128.17:443"), "no port of plain");
    assert_eq!(at("100.64.128.9:80"), "no port of desk");
    assert_eq!(at("100.64.128.9:22"), "app desk 10.50.0.9:22");
    assert_eq!(at("100.64.128.9:23"), "no port of desk");
    assert_eq!(at("100.64.128.11:22"), "app named db.internal:22");
}

#[test]
fn an_app_stands_at_its_ipv6_address_too() {
    let v6 = Company::new(RESOURCES, "").snapshot(1).dns().names["desk.corp.example"].1;
    assert_eq!(at(&format!("[{v6}]:5432")), "app desk 10.50.0.9:5432");
    assert_eq!(at(&format!("[{v6}]:23")), "no port of desk");
}

#[test]
fn the_gateway_itself_is_a_name_server_and_the_door() {
    assert_eq!(at("100.64.0.1:53"), "dns");
    assert_eq!(at("100.64.0.1:443"), "door true");
    assert_eq!(at("100.64.0.1:80"), "door false");
    assert_eq!(at("100.64.0.1:22"), "nothing");
    assert_eq!(at("[fd00:d00:d00::1]:53"), "dns");
}

#[test]
fn a_subnet_never_bypasses_an_app() {
    assert_eq!(at("10.50.0.7:8080"), "ToHttps wiki");
    assert_eq!(at("10.50.0.17:8080"), "Http plain");
    assert_eq!(at("10.50.0.9:22"), "app desk 10.50.0.9:22");
    assert_eq!(at("10.50.0.9:23"), "subnet narrow 10.50.0.9:23");
    assert_eq!(at("10.50.0.10:22"), "subnet narrow 10.50.0.10:22", "it said so");
}

#[test]
fn the_longest_prefix_wins() {
    assert_eq!(at("10.50.0.77:1"), "subnet narrow 10.50.0.77:1");
    assert_eq!(at("10.50.1.77:1"), "subnet broad 10.50.1.77:1");
    assert_eq!(at("[fd50::7]:1"), "subnet six [fd50::7]:1");
}

#[test]
fn what_nobody_declared_is_nothing() {
    for to in ["10.51.0.1:22", "100.64.200.1:80", "100.64.0.9:22", "[fd51::1]:22", "127.0.0.1:22"] {
        assert_eq!(at(to), "nothing", "{to}");
    }
}
