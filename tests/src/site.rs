//! A web server with pages of the test's own, over http or https: a stranger's site, or an app with manners.
//! It is nginx, and runs without rights. Always true: after `open` it listens; what it got is in its log.

use std::{fmt::Write, fs, net::TcpStream};

use anyhow::{Context, Result};

use crate::{authority::Certificate, host::Host, process::Process, wait::eventually};

/// A page of a site.
pub struct Page<'a> {
    /// Where it is: `/`, `/a`.
    pub path: &'a str,
    /// Sent with it; without quotes and dollars.
    pub headers: &'a [(&'a str, &'a str)],
    /// Its HTML.
    pub text: &'a str,
}

/// A site that is open.
pub struct Site {
    process: Process,
}

impl Site {
    /// Serves pages on a port of `host`, over TLS if there is a certificate. There is nothing else; every
    /// method is answered alike.
    pub fn open(host: &Host, port: u16, tls: Option<&Certificate>, pages: &[Page<'_>]) -> Result<Self> {
        let folder = host.folder().join(format!("site-{port}"));
        fs::create_dir_all(&folder)?;
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(&folder.display().to_string(), port, tls, pages)?)?;
        let mut command = host.unprivileged("nginx")?;
        command.args(["-e", "stderr", "-p"]).arg(&folder).arg("-c").arg(&file);
        let process = host.start("site", command)?;
        eventually("the site listens", || {
            host.within(|| TcpStream::connect(("127.0.0.1", port))).ok().map(drop)
        })?;
        Ok(Self { process })
    }

    /// What it was asked for, `METHOD path status` a line, and its complaints.
    pub fn log(&self) -> String {
        self.process.text()
    }
}

fn configuration(at: &str, port: u16, tls: Option<&Certificate>, pages: &[Page<'_>]) -> Result<String> {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .concat();
    let (ssl, certificate) = match tls {
        Some(tls) => (
            " ssl",
            format!(
                "ssl_certificate {}; ssl_certificate_key {};\n",
                tls.certificate.display(),
                tls.key.display()
            ),
        ),
        None => ("", String::new()),
    };
    let mut text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log stderr; events {{}}\nhttp {{\n\
         log_format plain '$request_method $uri $status'; access_log /dev/stdout plain;\n{temporary}\
         server {{ listen [::]:{port} ipv6only=off{ssl};\n{certificate}default_type text/html; charset utf-8;\n"
    );
    for (number, Page { path, headers, text: page }) in pages.iter().enumerate() {
        fs::write(format!("{at}/{number}.html"), page).context("writing a page")?;
        let headers: String =
            headers.iter().map(|(name, value)| format!("add_header {name} \"{value}\" always; ")).collect();
        // A file is only for GET: any other method is answered with the same page by this detour.
        writeln!(
            text,
            "location = {path} {{ {headers}error_page 405 =200 @{number}; root {at}; try_files /{number}.html =404; }}\n\
             location @{number} {{ {headers}return 200 'ok'; }}"
        )?;
    }
    Ok(text + "} }\n")
}
