//! Founds the demo's company: a private site with its services, an identity provider, a connector, a gateway,
//! two devices.
//! It shows nothing but progress. Always true: after `found` everything runs, the connector is
//! linked and both devices' configurations are written.

use std::{
    fs,
    net::TcpStream,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use protocol::time::Timestamp;

use crate::{
    files,
    guide::{CONNECTOR, GATEWAY, Guide, LOGIN},
    net::{self, Net},
    options::Options,
    people::{self, EVERYBODY, Person},
    place::TRUSTED,
    running::Goodbye,
};

/// Whoever we are, the services are nobody, in user namespaces of their own: PostgreSQL refuses to be
/// root, and to be a user that /etc/passwd does not know.
const AS_NOBODY: &str = "unshare --user --map-user=65534 --map-group=65534 -- ";
/// The file with the database's password, for `psql`.
const PASSFILE: &str = "pgpass";

/// What the tour has to know of it.
#[derive(Debug)]
pub struct Company {
    /// Who is where.
    pub net: Net,
}

impl Company {
    /// Starts everything.
    pub fn found(guide: &mut Guide, options: &Options) -> Result<Self> {
        guide
            .screen
            .progress(&format!("a private folder, removed at the end: {}", guide.place.folder.display()))?;
        let mut company = Self { net: Net::claim(options)? };
        company.open_site(guide)?;
        company.open_login(guide)?;
        let gateway_pin = pin(&guide.prepare("doorward init .")?)?;
        company.write(guide, options)?;
        guide.prepare("doorward check")?;
        company.net.hand_over_endpoint();
        let gateway = guide.serve(GATEWAY, SERVE, Goodbye::Plain)?;
        gateway.wait_for("ready").context("the gateway starts")?;
        company.connect_site(guide, &gateway_pin)?;
        company.take_in(guide)?;
        company.trust(guide)?;
        Ok(company)
    }

    /// A line that asks the database as `ada`; `device` is whose tunnel it goes through.
    pub fn psql(&self, device: &str, questions: &[&str]) -> String {
        let questions: String = questions.iter().map(|question| format!(" -c \"{question}\"")).collect();
        let port = if self.net.db.port() == net::DB.1 {
            String::new()
        } else {
            format!(" port={}", self.net.db.port())
        };
        format!(
            "{} psql -XAt \"host=db.corp.example{port} user=ada dbname=postgres passfile={PASSFILE}\"{questions}",
            through(device)
        )
    }

    /// The services of the site.
    fn open_site(&self, guide: &mut Guide) -> Result<()> {
        let password = random_word()?;
        fs::create_dir(guide.place.folder.join("site"))?;
        guide.place.write("site/nginx.conf", &files::nginx(self.net.wiki))?;
        guide.place.write("site/password", &password)?;
        guide.place.write(PASSFILE, &format!("*:*:*:*:{password}\n"))?;
        guide.prepare(&format!(
            "{AS_NOBODY}initdb -D site/db --username=ada --pwfile=site/password --auth=scram-sha-256 --no-locale \
             --encoding=UTF8 --no-sync --no-instructions >logs/initdb.log"
        ))?;
        let (ip, port) = (self.net.db.ip(), self.net.db.port());
        let server = format!(
            "{AS_NOBODY}postgres -D site/db -p {port} -c listen_addresses={ip} -c unix_socket_directories= -c fsync=off"
        );
        guide.serve("postgres", &server, Goodbye::Postgres)?;
        let web = format!("{AS_NOBODY}nginx -e stderr -p . -c site/nginx.conf");
        guide.serve("nginx", &web, Goodbye::Plain)?;
        guide.program("postgres")?.wait_for("ready to accept connections")?;
        let wiki = self.net.wiki;
        guide.board().poll("nginx listens", || Ok(TcpStream::connect(wiki).ok()))?;
        Ok(())
    }

    /// Where people sign in.
    fn open_login(&self, guide: &mut Guide) -> Result<()> {
        guide.prepare("doorward-dev-provider certificate --names login.corp.example --out login")?;
        let secret = random_word()?;
        guide.place.write("corp.secret", &secret)?;
        guide.place.write("login/provider.toml", &people::provider(&self.net, &secret))?;
        guide.serve(LOGIN, "doorward-dev-provider run --config login/provider.toml", Goodbye::Plain)?;
        guide.program(LOGIN)?.wait_for("ready ").map(drop).context("the identity provider starts")
    }

    /// What the operator decides: apps and policies.
    fn write(&self, guide: &mut Guide, options: &Options) -> Result<()> {
        guide.screen.progress("writing doorward.toml, policies/*.cedar")?;
        let resolvers = if options.once { Vec::new() } else { net::resolvers() };
        let place = &guide.place;
        place.write("doorward.toml", &files::gateway(&self.net, &resolvers))?;
        fs::remove_file(place.folder.join("policies/permits.cedar"))?;
        place.write("policies/guard-disk.cedar", files::GUARD)?;
        place.write("policies/wiki.cedar", files::WIKI)?;
        place.write("policies/admin.cedar", files::ADMIN)?;
        place.write("policies/db.cedar", &files::db(None))
    }

    /// The connector, which joins by a token: the gateway knows it from then on.
    fn connect_site(&self, guide: &mut Guide, gateway_pin: &str) -> Result<()> {
        let Net { link, wiki, db, .. } = &self.net;
        fs::create_dir(guide.place.folder.join("connector"))?;
        guide.prepare("doorward admin connector token cellar --name cellar-1 >connector/token")?;
        // Loopback only by exact address.
        guide.prepare(&format!(
            "doorward-connector join --gateway {link} --gateway-key {gateway_pin} --token-file connector/token \
             --allow {wiki} {db} --dir connector"
        ))?;
        guide.serve(CONNECTOR, "doorward-connector run --config connector/connector.toml", Goodbye::Plain)?;
        guide.gateway_says(0, &["connector linked"]).map(drop).context("the connector reaches the gateway")
    }

    /// People and devices.
    fn take_in(&self, guide: &mut Guide) -> Result<()> {
        for Person { login, .. } in EVERYBODY {
            // What more there is to know of them, the provider says when they sign in.
            guide.prepare(&format!("doorward admin user add corp/{login}"))?;
        }
        add_device(guide, LAPTOP, "corp/ada", true, Form::Text)?;
        add_device(guide, OLD_LAPTOP, "corp/ada", false, Form::Text)
    }

    /// What devices of the company trust: the gateway's authority for its apps, and the provider's.
    fn trust(&self, guide: &mut Guide) -> Result<()> {
        guide.place.write("browse", files::BROWSE)?;
        let fetch = format!("{} curl -sSf http://door.corp.example/ca.pem >ca.pem", through(LAPTOP));
        guide.prepare(&fetch)?;
        guide.prepare(&format!("cat ca.pem login/ca.pem >{TRUSTED}")).map(drop)
    }
}

/// How the gateway is started.
pub const SERVE: &str = "doorward gateway";
/// The healthy device.
pub const LAPTOP: &str = "ada-laptop";
/// The one whose disk is not encrypted.
pub const OLD_LAPTOP: &str = "ada-old-laptop";

/// The line with which somebody at a device opens a page as a browser does, and signs in where that leads to.
pub fn browse(device: &str, url: &str, who: &Person) -> String {
    let Person { login, password, .. } = who;
    format!("{} sh browse {device}.jar {url} {login} {password}", through(device))
}

/// What to put before a command so that it runs on a device.
pub fn through(device: &str) -> String {
    format!("doorward-device run --config {device}.conf --")
}

/// How a new device's configuration is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As text, in `NAME.conf`.
    Text,
    /// As a code to scan, in `NAME.qr`.
    Code,
}

/// Takes a new device in, with a key of its own.
pub fn add_device(guide: &mut Guide, name: &str, owner: &str, encrypted: bool, form: Form) -> Result<()> {
    let end = match form {
        Form::Text => format!(">{name}.conf"),
        Form::Code => format!("--qr >{name}.qr"),
    };
    guide.prepare(&format!("doorward admin device add {name} --owner {owner} --new-key {end}"))?;
    guide.prepare(&report_disk(name, encrypted)).map(drop)
}

/// What device management says of a disk.
pub fn report_disk(device: &str, encrypted: bool) -> String {
    format!("doorward admin device posture {device} disk_encrypted={encrypted} --source mdm")
}

/// The pin in what a program says of a link key.
fn pin(text: &str) -> Result<String> {
    let word = text.split(|c: char| c.is_whitespace() || c == '"').find(|word| word.starts_with("sha256:"));
    word.map(str::to_owned).with_context(|| format!("no link key in:\n{text}"))
}

fn random_word() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").context("a random number")?;
    Ok(text.trim().to_owned())
}

/// How much later than `instant` it is at `wall`; negative if it is earlier.
pub fn millis_after(instant: Timestamp, wall: SystemTime) -> f64 {
    let promised = SystemTime::UNIX_EPOCH + Duration::from_millis(instant.millis().unsigned_abs());
    match wall.duration_since(promised) {
        Ok(after) => crate::guide::ms(after),
        Err(before) => -crate::guide::ms(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_what_programs_say() -> Result<()> {
        assert_eq!(pin("pins: gateway_key = \"sha256:abc=\" in its connector.toml")?, "sha256:abc=");
        assert!(pin("none").is_err());
        Ok(())
    }

    #[test]
    fn an_early_end_is_negative() {
        let promised = Timestamp::from_millis(5000);
        let wall = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        assert_eq!((millis_after(promised, wall(5012)), millis_after(promised, wall(4990))), (12.0, -10.0));
    }
}
