//! C2, H12: whatever is asked, refused or goes wrong, nothing that opens something is said or kept open.
//! It looks for known secrets, bare, in hexadecimal and as bytes, in all that leaves the programs.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use nix::sys::signal::Signal;
use tests::{
    device::KeyPair,
    gateway::Gateway,
    host::Host,
    office::{DOOR, Office, Opening, WIKI_PAGE},
    person::Person,
    provider::ISSUER,
    scene::{Plan, Scene},
    services,
    wait::eventually,
};

use crate::shared::{DATABASE, PASSWORD, Pair};

tests::tests![
    no_secret_leaves_a_gateway,
    no_secret_leaves_gateways_that_share_a_store,
    no_secret_of_a_sign_in_leaves_a_gateway,
];

/// Texts that must stay where they are.
#[derive(Default)]
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    fn add(&mut self, name: &str, secret: &str) {
        self.0.push((name.to_owned(), secret.as_bytes().to_vec()));
        let Ok(bytes) = STANDARD.decode(secret) else { return };
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.push((format!("{name} in hexadecimal"), hex.into_bytes()));
        self.0.push((format!("{name} as bytes"), bytes));
    }

    /// The secrets in a file of keys: bare, behind a name, or in the frame of a PEM file.
    fn add_file(&mut self, file: &Path) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let lines = text.lines().filter(|line| !line.starts_with("--"));
        let name = file.display().to_string();
        lines.filter_map(|line| line.split_whitespace().last()).for_each(|secret| self.add(&name, secret));
        Ok(())
    }

    fn none_is_in(&self, place: &str, said: &[u8]) -> Result<()> {
        let (name, _) = match self.0.iter().find(|(_, secret)| holds(said, secret)) {
            Some(found) => found,
            None => return Ok(()),
        };
        anyhow::bail!("{place} holds the secret of {name}")
    }

    /// What the gateway keeps and answers; `known` must be found, or nothing was looked at.
    fn none_leaves(&self, gateway: &Gateway, host: &Host, known: &str) -> Result<()> {
        let mut found = false;
        let mut look = |place: &str, said: &[u8]| {
            found |= holds(said, known.as_bytes());
            self.none_is_in(place, said)
        };
        for question in QUESTIONS {
            let words: Vec<_> = question.split_whitespace().collect();
            let output = gateway.cli(host, &words)?;
            look(question, &[output.stdout, output.stderr].concat())?;
        }
        for path in ["healthz", "readyz", "metrics"] {
            let page = host.sh("curl", &["--silent", &format!("http://127.0.0.1:9820/{path}")])?;
            look(path, page.as_bytes())?;
        }
        look("the log", gateway.process()?.text().as_bytes())?;
        for file in files(&gateway.folder().join("state"))? {
            if !file.ends_with("audit.key") {
                look(&file.display().to_string(), &fs::read(&file)?)?;
            }
        }
        ensure!(found, "the public key {known} was nowhere: this test sees nothing");
        Ok(())
    }
}

fn holds(said: &[u8], secret: &[u8]) -> bool {
    said.windows(secret.len()).any(|part| part == secret)
}

/// What an administrator may ask; some of it fails.
const QUESTIONS: [&str; 16] = [
    "status",
    "status --json",
    "check",
    "admin user list --json",
    "admin user show corp/alice --json",
    "admin group list --json",
    "admin device list --json",
    "admin device show laptop --json",
    "admin device config laptop",
    "admin connector list --json",
    "admin token list --json",
    "admin device add laptop --owner corp/alice --new-key --address 1.2.3.4",
    "admin connector token nowhere",
    "admin audit tail -n 10000 --json",
    "admin audit verify --json",
    "admin import directory.toml --dry-run",
];

fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let (path, kind) = {
            let entry = entry?;
            (entry.path(), entry.file_type()?)
        };
        if kind.is_dir() {
            all.extend(files(&path)?);
        } else if kind.is_file() {
            all.push(path);
        }
    }
    Ok(all)
}

/// What two commands print once, and never again.
fn printed_once(gateway: &Gateway, host: &Host, secrets: &mut Secrets) -> Result<()> {
    let token = gateway.admin(host, "connector token fra --name fra-9")?;
    let longest = token.split_whitespace().max_by_key(|word| word.len()).context("a token")?;
    secrets.add("a token", longest);
    let config = gateway.admin(host, "device add tower --owner corp/alice --new-key")?;
    let line = config.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).context("a key")?;
    secrets.add("a new device", line.trim());
    Ok(())
}

fn keys_of(gateway: &Gateway, secrets: &mut Secrets) -> Result<()> {
    let names = ["gateway.key", "link.key", "store.key", "state/audit.key"];
    names.iter().try_for_each(|name| secrets.add_file(&gateway.folder().join(name)))
}

fn no_secret_leaves_a_gateway() -> Result<()> {
    let mut plan = Plan::new()?;
    plan.company.more = "[health]\nlisten = [\"127.0.0.1:9820\"]\n\
                         [audit]\notlp = \"http://127.0.0.1:4318/v1/logs\"\n"
        .to_owned();
    let mut scene = Scene::with(plan)?;
    let laptop = scene.device("laptop")?;
    let mut secrets = Secrets::default();
    keys_of(&scene.gateway, &mut secrets)?;
    secrets.add_file(&scene.world.site.folder().join("fra-1/connector.key"))?;
    secrets.add("the laptop", &scene.company.machine("laptop")?.key.private);
    printed_once(&scene.gateway, &scene.world.gw, &mut secrets)?;
    for form in ["text/html", "application/json", "*/*"] {
        for page in
            ["http://wiki.corp.example/", "http://vault.corp.example/", "http://wiki.corp.example/%00"]
        {
            let said = laptop.curl(&["--include", "--header", &format!("Accept: {form}"), page])?;
            secrets.none_is_in(page, &[said.stdout, said.stderr].concat())?;
        }
    }
    let known = scene.company.machine("laptop")?.key.public.clone();
    secrets.none_leaves(&scene.gateway, &scene.world.gw, &known)?;
    secrets.none_is_in("the connector's log", scene.connector("fra-1")?.text().as_bytes())?;
    // The end signs the audit log, and the next start sends what was signed.
    scene.gateway.ask_to_end(Signal::SIGTERM)?;
    scene.gateway.outcome()?;
    let collector = services::collector(&scene.world.gw)?;
    scene.gateway.start(&scene.world.gw)?;
    collector.wait_for("doorward.audit.head")?;
    secrets.none_is_in("the collector", collector.text().as_bytes())?;
    // A key file that makes no sense is told of, not shown.
    let broken = format!("first {}x\n", KeyPair::fresh()?.private);
    scene.gateway.kill()?;
    fs::write(scene.gateway.folder().join("store.key"), &broken)?;
    let refused = scene.gateway.cli(&scene.world.gw, &["gateway"])?;
    let mut half = Secrets::default();
    half.add("a broken key", broken.split_whitespace().last().context("a key")?);
    half.none_is_in("the refusal", &[refused.stdout, refused.stderr].concat())
}

fn no_secret_leaves_gateways_that_share_a_store() -> Result<()> {
    let pair = Pair::start("5s")?;
    let mut secrets = Secrets::default();
    secrets.add("the database", PASSWORD);
    keys_of(&pair.a.gateway, &mut secrets)?;
    printed_once(&pair.a.gateway, &pair.a.host, &mut secrets)?;
    // What is said while the database cannot be reached, too.
    pair.b.part_from_store(true)?;
    pair.b.gateway.admin_refused(&pair.b.host, "user add corp/carol")?;
    let known = pair.b.gateway.status(&pair.b.host)?["tunnel"]["peers"][0]["key"].to_string();
    secrets.none_leaves(&pair.b.gateway, &pair.b.host, known.trim_matches('"'))?;
    let stored = pair.a.host.command("psql").and_then(|mut psql| {
        psql.args(["--no-psqlrc", "--host", DATABASE, "--username=tester", "--dbname=postgres"]);
        let all = "select query_to_xml('select * from ' || tablename, true, false, '') \
                   from pg_tables where schemaname = 'public'";
        psql.args(["--tuples-only", "--command", all]);
        pair.a.host.expect_success(&psql)
    })?;
    ensure!(stored.contains("tower"), "the tables were not looked at:\n{stored}");
    secrets.none_is_in("the database", stored.as_bytes())
}

const SECOND_FACTOR: &str = r#"
@id("vault-second-factor")
@step_up("acr=mfa")
permit (principal in Doorward::Group::"corp/staff", action in Doorward::Action::"access",
        resource == Doorward::App::"vault")
when { context has session && context.session has acr && context.session.acr == "mfa" };
"#;

/// H12: people sign in, are refreshed, step up, fail and sign out; what the provider gave is told to nobody.
fn no_secret_of_a_sign_in_leaves_a_gateway() -> Result<()> {
    let mut opening = Opening::new()?;
    let start = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    (opening.plan.clock, opening.setup.clock) = (Some(start), Some(start));
    let company = &mut opening.plan.company;
    company.policies.insert("vault", SECOND_FACTOR.to_owned());
    company.more = "[health]\nlisten = [\"127.0.0.1:9820\"]\n".to_owned();
    let mut office = Office::with(opening)?;
    let laptop = office.scene.device("laptop")?;
    let mut secrets = Secrets::default();
    keys_of(&office.scene.gateway, &mut secrets)?;
    secrets.add_file(&office.scene.gateway.folder().join("corp.secret"))?;
    let alice = Person::at(&office, &laptop, "alice")?;
    let mut said = vec![alice.signs_in(WIKI_PAGE, "alice")?];
    let form = alice.open("https://vault.corp.example/")?;
    said.extend([alice.fills_in(&form, "alice", &[("mfa", "on")])?, form]);
    refreshed(&mut office, start)?;
    office.provider.fault("/token", 500, 1)?;
    said.push(Person::at(&office, &laptop, "fails")?.signs_in(&format!("{DOOR}/sign-in"), "alice")?);
    said.extend([alice.open(WIKI_PAGE)?, alice.open(DOOR)?, alice.look(&format!("{DOOR}/device"))?]);
    said.push(alice.look(&format!("{DOOR}/sign-in"))?);
    said.push(alice.send(&format!("{DOOR}/sign-out"), &[])?);
    let theirs = office.provider.secrets()?;
    ensure!(theirs.len() >= 12, "two sign-ins and a refresh: {}", theirs.len());
    theirs.iter().for_each(|secret| secrets.add("a sign-in", secret));
    for answer in said.iter().filter(|answer| !answer.url.starts_with(ISSUER)) {
        let page = format!("{} {}", answer.location, answer.body);
        secrets.none_is_in(&answer.url, page.as_bytes())?;
    }
    secrets.none_is_in("what apps saw", office.scene.mirror.heads().concat().as_bytes())?;
    secrets.none_is_in("the connector's log", office.scene.connector("fra-1")?.text().as_bytes())?;
    let jar = fs::read(laptop.host().folder().join("alice.jar"))?;
    secrets.none_is_in("the browser's cookies", &jar)?;
    let known = office.scene.company.machine("laptop")?.key.public.clone();
    secrets.none_leaves(&office.scene.gateway, &office.scene.world.gw, &known)
}

/// Lets time pass until the gateway has asked for the session's standing.
fn refreshed(office: &mut Office, start: u64) -> Result<()> {
    let before = office.provider.secrets()?.len();
    office.provider.set_clock(start + 900)?;
    office.scene.set_clock(start + 900)?;
    eventually("the session is refreshed", || {
        office.provider.secrets().ok().filter(|secrets| secrets.len() > before).map(drop)
    })
}
