//! The reader against whole files: a good one, and one with everything wrong.

use super::*;

#[path = "../../../fuzz/replay.rs"]
mod replay;

#[test]
fn every_unit_of_device_conf_holds() {
    replay::corpus("device_conf", fuzz::device_conf);
}

const KEY: &str = "oK56DE9Ue9zK76rAc8pBl6opph+1v36lm7cXXsQKrQM=";
const PUBLIC: &str = "GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=";

fn good() -> String {
    format!(
        "[Interface]\nPrivateKey = {KEY}\nAddress = 100.64.0.2/32, fd00:d00:d00:1::2/128\n\
         DNS = 100.64.0.1, fd00:d00:d00::1, corp.example\nMTU = 1380\n\n\
         [Peer]\nPublicKey = {PUBLIC}\nAllowedIPs = 100.64.0.0/16, 10.1.2.3/8\n\
         Endpoint = [2001:db8::1]:51820\nPersistentKeepalive = 25\n"
    )
}

fn reasons(text: &str) -> Vec<(usize, String)> {
    let mistakes = parse(text).expect_err("mistakes");
    mistakes.into_iter().map(|mistake| (mistake.line, mistake.reason)).collect()
}

#[test]
fn an_ordinary_file_is_read_whole() {
    let config = parse(&good()).unwrap();
    assert_eq!(config.interface.addresses.len(), 2);
    assert_eq!(config.interface.dns.len(), 2);
    assert_eq!(config.interface.search, ["corp.example"]);
    assert_eq!(config.interface.mtu, 1380);
    assert_eq!(config.peer.public_key.to_string(), PUBLIC);
    assert_eq!(config.peer.allowed_ips, ["100.64.0.0/16".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]);
    assert_eq!(config.peer.endpoint.to_string(), "[2001:db8::1]:51820");
    assert_eq!(config.peer.keepalive, Some(25));
    assert!(config.warnings.is_empty());
}

#[test]
fn secrets_do_not_show() {
    let text = good() + &format!("PresharedKey = {KEY}\n");
    let shown = format!("{:?}", parse(&text).unwrap());
    assert!(!shown.contains(KEY) && shown.matches("(hidden)").count() == 2, "{shown}");
}

#[test]
fn hooks_are_warned_about_not_run() {
    let text =
        good().replace("MTU = 1380", "PostUp = iptables -A\nPostUp = two\nTable = off\nListenPort = 1");
    let warnings = parse(&text).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "line 5: PostUp is not run: no hook is",
            "line 6: PostUp is not run: no hook is",
            "line 8: ListenPort has no meaning here and is ignored",
            "line 7: Table has no meaning here and is ignored",
        ]
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = format!(
        "[Interface]\nPrivateKey = (paste it here)\nAddres = 100.64.0.2/32\nMTU = 20\nDNS = 1.2.3\n\
         [Peer]\nPublicKey = {PUBLIC}\nPublicKey = {PUBLIC}\nAllowedIPs = 10.0.0.0/40\n\
         Endpoint = fd00::1:51820\nPersistentKeepalive = often\n[Extra]\n"
    );
    let want = [
        (1, "[Interface] has no Address"),
        (
            2,
            "PrivateKey: put this device's private key here: 44 characters of base64, as `wg genkey` prints it",
        ),
        (3, "[Interface] has no key Addres"),
        (4, "MTU: `20` is not a number from 1280 to 9000"),
        (5, "DNS: `1.2.3` is neither an IP address nor a domain"),
        (8, "PublicKey stands twice; it was already on line 7"),
        (9, "AllowedIPs: `10.0.0.0/40` is no network; expected one like 10.0.0.0/8"),
        (10, "Endpoint: `fd00::1:51820`: an IPv6 address stands in brackets: [2001:db8::1]:51820"),
        (11, "PersistentKeepalive: `often` is not a number from 0 to 65535, nor off"),
        (12, "there is no section [Extra]"),
    ];
    assert_eq!(reasons(&text), want.map(|(line, reason)| (line, reason.to_owned())));
}

#[test]
fn sections_must_be_there_once() {
    assert_eq!(reasons("").len(), 2);
    let twice = good() + &format!("[Peer]\nPublicKey = {PUBLIC}\nAllowedIPs = ::/0\nEndpoint = a:1\n");
    assert_eq!(reasons(&twice), [(12, "one [Interface] and one [Peer], the gateway, are supported".into())]);
}

#[test]
fn endpoints_are_names_or_addresses_with_a_port() {
    for good in ["gw.example.com:51820", "192.0.2.1:1", "[::1]:65535"] {
        assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
    }
    for bad in ["gw.example.com", "gw:0", "gw:99999", ":51820", "[gw]:1", "a b:1", ""] {
        assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
    }
}

#[test]
fn keepalive_may_be_off() {
    for off in ["off", "0", "OFF"] {
        let text = good().replace("PersistentKeepalive = 25", &format!("PersistentKeepalive = {off}"));
        assert_eq!(parse(&text).unwrap().peer.keepalive, None);
    }
}
