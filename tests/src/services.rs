//! Real services on the private network: nginx, sshd and PostgreSQL as an ordinary user runs them.
//! They are set up for nothing but to be reached; durability and secrecy are switched off.
//! Always true: a service that was started answers.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
};

use anyhow::{Context, Result};

use crate::{host::Host, process::Process, programs, wait::eventually};

/// nginx on `port`; every page reads `nginx`.
pub fn nginx(host: &Host, port: u16) -> Result<Process> {
    let folder = host.folder().join("nginx");
    fs::create_dir_all(&folder)?;
    let at = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
        .concat();
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log stderr; events {{}}
         http {{ access_log off; keepalive_requests 1000000000; {temporary} server {{ listen [::]:{port} ipv6only=off;
         location / {{ default_type text/plain; return 200 nginx; }} }} }}"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = host.unprivileged("nginx")?;
    command.args(["-e", "stderr", "-p"]).arg(&folder).arg("-c").arg(&file);
    let process = host.start("nginx", command)?;
    listening(host, port)?;
    Ok(process)
}

/// An SSH server and the key that opens it.
pub struct Sshd {
    _process: Process,
    /// The client's private key.
    pub key: PathBuf,
}

impl Sshd {
    /// Runs a command over SSH from `client`; what it printed.
    pub fn run(&self, client: &Host, address: &str, port: u16, what: &str) -> Result<String> {
        let mut command = client.command("ssh")?;
        command.args(["-F", "none", "-l", "tester", "-p", &port.to_string(), "-i"]).arg(&self.key);
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        command.args(["-o", "LogLevel=ERROR", "-o", "BatchMode=yes", address, what]);
        Ok(client.expect_success(&command)?.trim().to_owned())
    }
}

/// sshd on `port` for the user `tester`, who is the one it runs as.
pub fn sshd(host: &Host, port: u16) -> Result<Sshd> {
    let folder = host.folder().join("sshd");
    fs::create_dir_all(&folder)?;
    for name in ["host", "client"] {
        let file = folder.join(name);
        host.sh("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &file.to_string_lossy()])?;
    }
    let at = folder.display();
    let text = format!(
        "Port {port}\nHostKey {at}/host\nPidFile none\nAuthorizedKeysFile {at}/client.pub\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\n"
    );
    fs::write(folder.join("sshd_config"), text)?;
    let mut command = host.unprivileged("/usr/sbin/sshd")?;
    command.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config"));
    let process = host.start("sshd", command)?;
    listening(host, port)?;
    Ok(Sshd { _process: process, key: folder.join("client") })
}

/// PostgreSQL on `port`; the user is `tester`, nobody asks for a password.
pub fn postgres(host: &Host, port: u16) -> Result<Process> {
    let data = host.folder().join("postgres");
    let mut init = host.unprivileged(programs::postgres("initdb")?)?;
    init.args(["--auth=trust", "--username=tester", "--no-sync", "--no-instructions", "--no-locale", "-D"])
        .arg(&data);
    host.expect_success(&init)?;
    let rules = data.join("pg_hba.conf");
    fs::write(&rules, "host all all all trust\n").context("writing pg_hba.conf")?;
    let mut command = host.unprivileged(programs::postgres("postgres")?)?;
    command.arg("-D").arg(&data).args([
        "-p",
        &port.to_string(),
        "-c",
        "listen_addresses=*",
        "-c",
        "fsync=off",
    ]);
    command.args(["-c", "unix_socket_directories="]);
    let process = host.start("postgres", command)?;
    process.wait_for("ready to accept connections")?;
    Ok(process)
}

/// Asks PostgreSQL from `client`; the one value it answers.
pub fn query(client: &Host, address: &str, port: u16, question: &str) -> Result<String> {
    let mut command = client.command("psql")?;
    command.args(["--no-psqlrc", "--tuples-only", "--no-align", "--username=tester", "--dbname=postgres"]);
    command.args(["--host", address, "--port", &port.to_string(), "--command", question]);
    Ok(client.expect_success(&command)?.trim().to_owned())
}

fn listening(host: &Host, port: u16) -> Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    eventually(&format!("somebody listens on port {port} of {}", host.name()), || {
        host.within(|| TcpStream::connect(address)).ok().map(drop)
    })
}

/// A collector of OTLP on port 4318 of a host, which prints whatever it receives.
pub fn collector(host: &Host) -> Result<Process> {
    let mut command = host.command(programs::rotel()?)?;
    command.args(["start", "--exporter", "blackhole", "--debug-log", "logs"]);
    command.args(["--debug-log-verbosity", "detailed", "--otlp-http-endpoint", "127.0.0.1:4318"]);
    command.arg("--pid-file").arg(host.folder().join("rotel.pid"));
    command.arg("--log-file").arg(host.folder().join("rotel.log"));
    host.start("rotel", command)
}
