//! The configuration a device gets: its exact text, and that WireGuard's own tools accept it once
//! the private key is filled in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use gateway::{
    cli::{
        device_config::{DeviceConfigError, Options, run},
        init,
    },
    config::load,
};

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `init` makes, with an MTU and one device.
fn made(name: &str) -> Folder {
    let folder = std::env::temp_dir().join(format!("doorward-device-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    init::run(&folder).expect("a new folder");
    let file = folder.join("doorward.toml");
    let text = fs::read_to_string(&file).expect("the file init made");
    fs::write(&file, text.replace("#mtu = 1380", "mtu = 1380")).expect("the file is written");
    let directory = "[[user]]\nid = \"corp/alice\"\n[[device]]\nname = \"laptop\"\nowner = \"corp/alice\"\nkeys = [\"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\"]\n";
    fs::write(folder.join("directory.toml"), directory).expect("the file is written");
    Folder(folder)
}

fn config(folder: &Folder) -> PathBuf {
    folder.0.join("doorward.toml")
}

/// What `wg-quick strip` leaves for the kernel.
fn stripped(folder: &Folder, text: &str) -> String {
    let file = folder.0.join("dw0.conf");
    fs::write(&file, text).expect("the file is written");
    let run =
        Command::new("wg-quick").arg("strip").arg(&file).output().expect("wireguard-tools are installed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).expect("text")
}

fn line<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = ")).expect("the line is there")
}

#[test]
fn the_text_is_what_wg_quick_reads() {
    let folder = made("text");
    let printed = run(&config(&folder), "laptop", Options::default()).expect("a known device");
    let loaded = load(&config(&folder)).expect("a good configuration");
    let (v6, key) = (loaded.tunnel.v6(), loaded.gateway.public_key());
    let base = v6.addr().to_string();
    let base = base.trim_end_matches("::");
    let expected = format!(
        "\
[Interface]
PrivateKey = <paste the device's private key here>
Address = 100.64.0.2/32, {base}:1::2/128
DNS = 100.64.0.1, {base}::1, corp.example
MTU = 1380

[Peer]
PublicKey = {key}
AllowedIPs = 100.64.0.0/16, {v6}, 10.0.0.0/8
Endpoint = gw.example.com:51820
PersistentKeepalive = 25
"
    );
    assert_eq!(printed.out, expected);
    assert!(printed.notes.contains("PrivateKey line"), "{}", printed.notes);
    let private = "6OZrQPyNwcfDs0mD8BMn8Iv+ZvhJKVmBBHvgCnDzLUs=";
    let kernel = stripped(&folder, &printed.out.replace("<paste the device's private key here>", private));
    assert_eq!(line(&kernel, "PrivateKey"), private);
    assert_eq!(line(&kernel, "Endpoint"), "gw.example.com:51820");
    assert!(!kernel.contains("Address") && !kernel.contains("DNS") && !kernel.contains("MTU"), "{kernel}");
}

#[test]
fn the_address_stays() {
    let folder = made("stays");
    let first = run(&config(&folder), "laptop", Options::default()).expect("a known device").out;
    let again = run(&config(&folder), "laptop", Options::default()).expect("a known device").out;
    assert_eq!(first, again);
}

#[test]
fn a_new_key_comes_with_what_to_write_into_the_directory() {
    let folder = made("new");
    let new = Options { new_key: true, qr: false };
    let printed = run(&config(&folder), "phone", new).expect("a new device");
    let private = line(&printed.out, "PrivateKey");
    assert!(printed.notes.contains("[[device]]\nname = \"phone\"\nowner = "), "{}", printed.notes);
    let public = public_key(private);
    assert!(printed.notes.contains(&format!("keys = [\"{public}\"]")), "{}", printed.notes);
    assert_eq!(line(&stripped(&folder, &printed.out), "PrivateKey"), private);
    let rotated = run(&config(&folder), "laptop", new).expect("a known device");
    let public = public_key(line(&rotated.out, "PrivateKey"));
    let both = format!("keys = [\"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\", \"{public}\"]");
    assert!(rotated.notes.contains(&both), "{}", rotated.notes);
}

/// What `wg pubkey` makes of a private key.
fn public_key(private: &str) -> String {
    let run = Command::new("sh").args(["-c", "printf %s \"$0\" | wg pubkey", private]).output();
    let run = run.expect("wireguard-tools are installed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).expect("text").trim().to_owned()
}

#[test]
fn a_code_says_when_it_lacks_the_key() {
    let folder = made("code");
    let without = run(&config(&folder), "laptop", Options { new_key: false, qr: true }).expect("a code");
    assert!(without.out.contains('█') && !without.out.contains("PrivateKey"), "{}", without.out);
    assert!(without.notes.contains("by hand"), "{}", without.notes);
    let with = run(&config(&folder), "laptop", Options { new_key: true, qr: true }).expect("a code");
    assert!(with.out.contains('█') && !with.notes.contains("by hand"), "{}", with.notes);
}

#[test]
fn who_is_not_there_is_told_how_to_begin() {
    let folder = made("unknown");
    let refused = run(&config(&folder), "phone", Options::default()).expect_err("unknown");
    assert!(refused.to_string().contains("--new-key"), "{refused}");
    let refused = run(&config(&folder), "Phone!", Options::default()).expect_err("no name");
    assert!(matches!(refused, DeviceConfigError::Name(..)), "{refused}");
    assert!(run(Path::new("/nowhere/doorward.toml"), "phone", Options::default()).is_err());
}
