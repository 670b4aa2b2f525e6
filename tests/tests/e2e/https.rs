//! HTTP apps over TLS, as browsers meet them: by name, with HTTP/1 and HTTP/2, and by the way from port 80.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use tests::{
    company::{WIKI, write_secret},
    device::Device,
    mirror::fields,
    scene::{Plan, Scene},
};

tests::tests![
    an_app_over_tls_is_told_who_asks_and_how,
    port_80_leads_to_https,
    a_name_that_stands_elsewhere_gets_no_handshake,
    a_certificate_that_is_replaced_is_shown_after_a_reload,
];

const URL: &str = "https://safe.corp.example/";
/// The app's tunnel address.
const SAFE: &str = "100.64.128.10";

const APP: &str = r#"
[[app]]
name = "safe"
site = "fra"
kind = "http"
hosts = ["safe.corp.example"]
upstream = "http://10.50.0.7:8080"
address = "100.64.128.10"
groups = ["staff"]
"#;

fn scene() -> Result<Scene> {
    let mut plan = Plan::new()?;
    plan.company.more = APP.to_owned();
    Scene::with(plan)
}

/// Nobody has the built-in authority's root yet.
fn page(laptop: &Device, arguments: &[&str]) -> Result<String> {
    laptop.page(&[&["--insecure"], arguments].concat())
}

fn an_app_over_tls_is_told_who_asks_and_how() -> Result<()> {
    let scene = scene()?;
    let laptop = scene.device("laptop")?;
    for version in ["--http1.1", "--http2"] {
        let said = page(&laptop, &[version, "--write-out", "\nspoken: %{http_version}", URL])?;
        assert_eq!(fields(&said, "X-Forwarded-User").collect::<Vec<_>>(), ["corp/alice"], "{said}");
        assert_eq!(fields(&said, "X-Forwarded-Proto").collect::<Vec<_>>(), ["https"], "{said}");
        assert_eq!(fields(&said, "Host").collect::<Vec<_>>(), ["safe.corp.example"], "{said}");
        let spoken = if version == "--http2" { "spoken: 2" } else { "spoken: 1.1" };
        assert!(said.ends_with(spoken), "{said}");
        let crumbs = ["--cookie", "a=1; b=2", version, URL];
        let said = page(&laptop, &crumbs)?;
        assert_eq!(fields(&said, "Cookie").collect::<Vec<_>>(), ["a=1; b=2"], "{said}");
    }
    assert_eq!(laptop.code(&["--insecure", "--header", "Host: wiki.corp.example", URL])?, 421);
    let phone = scene.device("phone")?;
    assert_eq!(phone.code(&["--insecure", URL])?, 403, "Bob is told why, over TLS");
    Ok(())
}

fn port_80_leads_to_https() -> Result<()> {
    let scene = scene()?;
    let laptop = scene.device("laptop")?;
    let told = ["--output", "/dev/null", "--write-out", "%{http_code} %{redirect_url}"];
    let asked = ["http://safe.corp.example/a%2Fb?c=d"];
    let said = String::from_utf8(laptop.curl(&[&told[..], &asked].concat())?.stdout)?;
    assert_eq!(said, "301 https://safe.corp.example/a%2Fb?c=d");
    assert_eq!(laptop.code(&["--header", "Host: wiki.corp.example", &format!("http://{SAFE}/")])?, 421);
    assert!(scene.mirror.heads().is_empty());
    Ok(())
}

fn a_name_that_stands_elsewhere_gets_no_handshake() -> Result<()> {
    let scene = scene()?;
    let laptop = scene.device("laptop")?;
    // The wiki has no TLS, the vault stands elsewhere, and the last is asked for by its address.
    for host in ["wiki.corp.example", "vault.corp.example", "else.corp.example", SAFE] {
        let there = format!("{host}:443:{SAFE}");
        let output = laptop.curl(&["--insecure", "--resolve", &there, &format!("https://{host}/")])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(35), "{host}: {said}");
    }
    let limits = scene.status()?["limits"].clone();
    assert_eq!((&limits["tls_unknown_name"], &limits["tls_no_sni"]), (&3.into(), &1.into()), "{limits}");
    assert!(
        laptop.curl(&["--insecure", &format!("https://{WIKI}/")])?.status.code() == Some(7),
        "no such port"
    );
    Ok(())
}

/// Writes a certificate signed by itself, and its key, as somebody's own authority would renew them.
fn renew(folder: &Path) -> Result<()> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = CertificateParams::new(["safe.corp.example".to_owned()])?.self_signed(&key)?;
    fs::write(folder.join("safe.pem"), certificate.pem())?;
    write_secret(&folder.join("safe.key"), &key.serialize_pem())
}

fn a_certificate_that_is_replaced_is_shown_after_a_reload() -> Result<()> {
    let mut scene = scene()?;
    let laptop = scene.device("laptop")?;
    let folder = scene.gateway.folder().to_owned();
    renew(&folder)?;
    scene.change(|company| {
        company.more += "[[tls.certificate]]\nchain = \"safe.pem\"\nkey = \"safe.key\"\n";
        Ok(())
    })?;
    let old = folder.join("old.pem");
    fs::copy(folder.join("safe.pem"), &old)?;
    let (old, new) = (old.to_str().context("a name")?, folder.join("safe.pem"));
    laptop.page(&["--cacert", old, URL])?;
    renew(&folder)?;
    scene.change(|_| Ok(()))?;
    laptop.page(&["--cacert", new.to_str().context("a name")?, URL])?;
    let distrusted = laptop.curl(&["--cacert", old, URL])?;
    assert_eq!(distrusted.status.code(), Some(60), "the old one is not shown any more");
    Ok(())
}
