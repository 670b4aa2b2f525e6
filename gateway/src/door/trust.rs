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
    page::{document, escape},
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

/// Where each system keeps what it trusts.
const SYSTEMS: [(&str, &str, &str); 6] = [
    (
        "macOS",
        "Download the certificate, open it, add it to the login keychain, then set it to “Always Trust” for SSL; or:",
        "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain doorward-ca.cer",
    ),
    (
        "Windows",
        "Open the certificate, Install, Local Machine, “Trusted Root Certification Authorities”; or, as administrator:",
        "certutil -addstore -f ROOT doorward-ca.cer",
    ),
    (
        "Debian, Ubuntu",
        "For command-line programs:",
        "sudo install -m 644 doorward-ca.pem /usr/local/share/ca-certificates/doorward-ca.crt && sudo update-ca-certificates",
    ),
    (
        "Fedora, RHEL",
        "For command-line programs:",
        "sudo install -m 644 doorward-ca.pem /etc/pki/ca-trust/source/anchors/doorward-ca.pem && sudo update-ca-trust",
    ),
    (
        "Chrome, Chromium on Linux",
        "They keep a list of their own (package libnss3-tools):",
        "certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n doorward -i doorward-ca.pem",
    ),
    (
        "iOS, Android",
        "Open http://DOOR/ca.cer on the device. iOS: Settings, Profile Downloaded, Install; then General, About, Certificate Trust Settings, switch it on. Android: Settings, Security, Install a certificate, CA certificate.",
        "",
    ),
];

fn help(root: &Root, zones: &[String], origin: &str) -> String {
    let name = origin.trim_start_matches("https://");
    let systems: String = SYSTEMS
        .iter()
        .map(|(system, text, command)| {
            let text = text.replace("DOOR", name);
            let command =
                if command.is_empty() { String::new() } else { format!("<pre>{}</pre>", escape(command)) };
            format!("<h2>{system}</h2><p>{}</p>{command}", escape(&text))
        })
        .collect();
    let zones =
        zones.iter().map(|zone| format!("<code>{}</code>", escape(zone))).collect::<Vec<_>>().join(", ");
    let main = format!(
        "<p>Your company’s internal pages have certificates of its own authority. Your device shows a warning until it trusts that. The authority can sign for names under {zones} only; other sites are none of its business.</p>\
<div class=\"buttons\">{}{}</div>\
<dl><dt>SHA-256</dt><dd><code>{}</code></dd></dl>{systems}\
<p>Firefox: Settings, Certificates, View Certificates, Authorities, Import.</p>\
<p>Then <a href=\"{}\">open the portal</a>.</p>",
        words::button("/ca.cer", "Download the certificate"),
        words::button("/ca.pem", "The same as PEM"),
        escape(&root.fingerprint),
        escape(&format!("{origin}/"))
    );
    document("Trust your company’s certificates", "", &main)
}
