//! Founds the demo's company: a private site with two services, a connector, a gateway, two devices.
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
    guide::{CONNECTOR, GATEWAY, Guide},
    net::{self, Net},
    options::Options,
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
        let gateway_pin = pin(&guide.prepare("doorward init .")?)?;
        fs::create_dir(guide.place.folder.join("connector"))?;
        let connector_pin = pin(&guide.prepare("doorward-connector keygen --out connector/connector.key")?)?;
        guide.place.write("connector/connector.toml", &files::connector(&company.net, &gateway_pin))?;
        company.write(guide, &connector_pin, options)?;
        guide.prepare("doorward check")?;
        company.net.hand_over_endpoint();
        let gateway = guide.serve(GATEWAY, "doorward gateway", Goodbye::Plain)?;
        gateway.wait_for("ready").context("the gateway starts")?;
        guide.serve(CONNECTOR, "doorward-connector run --config connector/connector.toml", Goodbye::Plain)?;
        guide.gateway_says(0, &["connector linked"]).context("the connector reaches the gateway")?;
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

    /// What the operator decides: apps, people, devices, policies.
    fn write(&self, guide: &mut Guide, connector: &str, options: &Options) -> Result<()> {
        guide.screen.progress("writing doorward.toml, directory.toml, policies/*.cedar")?;
        let resolvers = if options.once { Vec::new() } else { net::resolvers() };
        let place = &guide.place;
        place.write("doorward.toml", &files::gateway(&self.net, connector, &resolvers))?;
        place.write("directory.toml", files::PEOPLE)?;
        fs::remove_file(place.folder.join("policies/permits.cedar"))?;
        place.write("policies/guard-disk.cedar", files::GUARD)?;
        place.write("policies/wiki.cedar", files::WIKI)?;
        place.write("policies/db.cedar", &files::db(None))?;
        let (laptop, old) = (new_config(guide, LAPTOP)?, new_config(guide, OLD_LAPTOP)?);
        let devices =
            [device(LAPTOP, "corp/ada", &laptop, true), device(OLD_LAPTOP, "corp/ada", &old, false)];
        guide.place.write("directory.toml", &format!("{}{}", files::PEOPLE, devices.concat()))
    }
}

/// The healthy device.
pub const LAPTOP: &str = "ada-laptop";
/// The one whose disk is not encrypted.
pub const OLD_LAPTOP: &str = "ada-old-laptop";

/// What to put before a command so that it runs on a device.
pub fn through(device: &str) -> String {
    format!("doorward-device run --config {device}.conf --")
}

/// A device for `directory.toml`.
pub fn device(name: &str, owner: &str, key: &str, encrypted: bool) -> String {
    files::device(name, owner, key, encrypted, Timestamp::from_system(SystemTime::now()))
}

/// Writes the configuration of a new device; its public key.
pub fn new_config(guide: &mut Guide, name: &str) -> Result<String> {
    public_key(&guide.prepare(&format!("doorward device config {name} --new-key >{name}.conf"))?)
}

/// The key in what `doorward device config --new-key` tells the operator.
pub fn public_key(note: &str) -> Result<String> {
    let quoted = note.lines().find_map(|line| line.strip_prefix("keys = [\"")?.strip_suffix("\"]"));
    quoted.map(str::to_owned).with_context(|| format!("no public key in:\n{note}"))
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
        assert_eq!(public_key("Add:\n\n[[device]]\nkeys = [\"abc=\"]\nkey_since = x\n")?, "abc=");
        assert!(pin("none").is_err() && public_key("keys = []").is_err());
        Ok(())
    }

    #[test]
    fn an_early_end_is_negative() {
        let promised = Timestamp::from_millis(5000);
        let wall = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        assert_eq!((millis_after(promised, wall(5012)), millis_after(promised, wall(4990))), (12.0, -10.0));
    }
}
