//! The root of the built-in certificate authority, for those whose devices do not trust it yet.
//! It is public. Always true: the tunnel proves where it comes from; the page says what it can sign.

use axum::{
    Extension,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{Door, Given, Visitor, html, html_with, words};
use crate::{
    authority::Root,
    page::{card, escape},
};

pub(super) async fn pem((State(door), _): Given) -> Response {
    served(door.root().map(|root| root.pem.clone().into_bytes()), "application/x-pem-file", "ca.pem")
}

pub(super) async fn der((State(door), _): Given) -> Response {
    // As Android and iOS expect a certificate to install.
    served(door.root().map(|root| root.der.clone()), "application/x-x509-ca-cert", "ca.cer")
}

fn served(body: Option<Vec<u8>>, kind: &'static str, name: &str) -> Response {
    match body {
        Some(body) => {
            let named = format!("attachment; filename=\"doorward-{name}\"");
            ([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, named)], body)
                .into_response()
        }
        None => html_with(StatusCode::NOT_FOUND, none()),
    }
}

fn none() -> String {
    words::message(
        "No certificate is needed",
        "This gateway's names have certificates that your device trusts already.",
        "",
        "",
    )
}

/// How to have it trusted.
pub(super) async fn page(State(door): State<Door>, Extension(_): Extension<Visitor>) -> Response {
    match door.root() {
        Some(root) => html(help(&root, &door.snapshot().config().dns.zones, &door.origin())),
        None => html(none()),
    }
}

/// Where each system keeps what it trusts: what it is called, what to do, and a command that does it.
const SYSTEMS: [(&str, &str, &str); 8] = [
    (
        "macOS",
        "Open the downloaded certificate and add it to the login keychain. There, open it once more and set it to “Always Trust” for SSL. Or, in a terminal:",
        "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain doorward-ca.cer",
    ),
    (
        "Windows",
        "Open the downloaded certificate and choose Install, Local Machine, “Trusted Root Certification Authorities”. Or, as administrator:",
        "certutil -addstore -f ROOT doorward-ca.cer",
    ),
    (
        "iPhone, iPad",
        "Open http://DOOR/ca.cer in Safari. In Settings, choose Profile Downloaded and install it. Then, in General, About, Certificate Trust Settings, switch it on.",
        "",
    ),
    (
        "Android",
        "Open http://DOOR/ca.cer. In Settings, Security, choose Install a certificate, CA certificate, and pick the downloaded file.",
        "",
    ),
    (
        "Firefox",
        "It keeps a list of its own on some systems. In Settings, search for Certificates, then View Certificates, Authorities, Import.",
        "",
    ),
    (
        "Chrome and Chromium on Linux",
        "They keep a list of their own; certutil is in the package libnss3-tools.",
        "certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n doorward -i doorward-ca.pem",
    ),
    (
        "Debian, Ubuntu",
        "For programs of the command line, with the PEM file:",
        "sudo install -m 644 doorward-ca.pem /usr/local/share/ca-certificates/doorward-ca.crt && sudo update-ca-certificates",
    ),
    (
        "Fedora, RHEL",
        "For programs of the command line, with the PEM file:",
        "sudo install -m 644 doorward-ca.pem /etc/pki/ca-trust/source/anchors/doorward-ca.pem && sudo update-ca-trust",
    ),
];

fn help(root: &Root, zones: &[String], origin: &str) -> String {
    let name = origin.trim_start_matches("https://");
    let systems: String = SYSTEMS
        .iter()
        .map(|(system, text, command)| {
            let text = escape(&text.replace("DOOR", name));
            let command =
                if command.is_empty() { String::new() } else { format!("<pre>{}</pre>", escape(command)) };
            format!("<details><summary>{system}</summary><p>{text}</p>{command}</details>")
        })
        .collect();
    let zones =
        zones.iter().map(|zone| format!("<code>{}</code>", escape(zone))).collect::<Vec<_>>().join(", ");
    let inside = format!(
        "<p>Your company’s own pages have certificates that it issues itself. Until this device trusts it, your browser warns about them.</p>\
<p class=\"quiet\">It can vouch for names under {zones} only: what you do elsewhere stays out of its reach.</p>\
<div class=\"buttons\">{}<a href=\"/ca.pem\">As a PEM file</a></div>\
<dl><dt>SHA-256</dt><dd><code>{}</code></dd></dl>",
        words::button("/ca.cer", "Download the certificate"),
        // It may be folded between two bytes.
        escape(&root.fingerprint).replace(':', ":<wbr>"),
    );
    let below = format!(
        "<h2>How to install it</h2><div class=\"rows\">{systems}</div>\
<div class=\"buttons\">{}</div>",
        words::button(&format!("{origin}/"), "Done? Open the portal")
    );
    card("Trust your company’s certificates", "", &inside, &below)
}
