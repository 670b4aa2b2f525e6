//! What the tests share: a folder with a chain and its key, entries to write, and this program run anew.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use control::{
    audit::{
        Admin, AuditKey, BarePath, Chain, Decided, Entry, Filter, Hash, Head, Line, Log, Obstacle, Operator,
        Options, PublicKey, Report, Verdict, grep, verify,
    },
    store::Revision,
};
use tokio::sync::watch;

pub const GATEWAY: &str = "fra";

/// A gateway's audit folder beside its key; gone with the test that made it.
pub struct World {
    pub top: PathBuf,
    owned: bool,
}

impl World {
    pub fn new(name: &str) -> Self {
        let top = std::env::temp_dir().join(format!("doorward-audit-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&top);
        fs::create_dir_all(&top).unwrap();
        Self { top, owned: true }
    }

    /// Another process's.
    pub fn at(top: &Path) -> Self {
        Self { top: top.to_owned(), owned: false }
    }

    pub fn folder(&self) -> PathBuf {
        self.top.join("audit")
    }

    pub fn key(&self) -> AuditKey {
        AuditKey::read_or_create(&self.top.join("audit.key")).unwrap()
    }

    pub fn open(&self, options: Options) -> (Log, watch::Receiver<Option<Head>>) {
        Log::open(&self.folder(), GATEWAY, self.key(), options).unwrap()
    }

    pub fn verify(&self, heads: &[Head]) -> Report {
        let keys: [PublicKey; 1] = [self.key().public()];
        verify(&Chain { folder: &self.folder(), gateway: GATEWAY, keys: &keys }, heads).unwrap()
    }

    /// Puts a chain there that is bound but not signed, `per_file` lines a file, of the year 2020.
    pub fn forge(&self, lines: u64, per_file: u64) {
        let mut prev = Hash::NONE;
        fs::create_dir(self.folder()).unwrap();
        let mut files: BTreeMap<u64, String> = BTreeMap::new();
        for n in 1..=lines {
            let entry = revocation(&format!("f{n}"));
            let line = Line { n, prev, at: "2020-01-01T00:00:00.000Z".into(), entry };
            let text = serde_json::to_string(&line).unwrap();
            prev = Hash::of(text.as_bytes());
            *files.entry((n - 1) / per_file + 1).or_default() += &(text + "\n");
        }
        for (number, text) in files {
            fs::write(self.folder().join(format!("{number:06}.jsonl")), text).unwrap();
        }
    }

    pub fn lines(&self) -> Vec<Line> {
        let found = grep(&self.folder(), Filter::default(), &|_| None).unwrap();
        found.map(|found| found.unwrap().line).collect()
    }

    /// How often each id is in the chain.
    pub fn ids(&self) -> BTreeMap<Arc<str>, usize> {
        let mut ids = BTreeMap::new();
        for line in self.lines() {
            if let Some(id) = line.entry.id() {
                *ids.entry(id.clone()).or_default() += 1;
            }
        }
        ids
    }

    /// The files of the chain, oldest first.
    pub fn files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            files.filter(|file| file.extension().is_some_and(|kind| kind == "jsonl")).collect();
        files.sort();
        files
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.owned {
            let _ = fs::remove_dir_all(&self.top);
        }
    }
}

/// Files so small that a handful of lines fills one.
pub fn small() -> Options {
    Options { version: "1".into(), file: 1500, ..Options::default() }
}

pub fn revocation(id: &str) -> Entry {
    Entry::Revocation { id: id.into(), what: "device d1".into(), by: "root".into(), durable: true }
}

pub fn decision(request_id: &str) -> Decided {
    let obstacle = Obstacle {
        policy: Some("laptops".into()),
        why: vec!["device.disk_encrypted is missing".into()],
        advice: Some("turn on disk encryption".into()),
    };
    Decided {
        request_id: request_id.into(),
        user: None,
        sealed: "".into(),
        resource: "wiki".into(),
        action: "http_read".into(),
        host: Some("wiki.corp.example".into()),
        path: Some(BarePath::of("/page?token=hunter2")),
        verdict: Verdict::Deny,
        policies: Vec::new(),
        reasons: vec![obstacle],
        until: None,
        store_revision: Revision(7),
        policy_fingerprint: "abc".into(),
    }
}

pub fn admin(id: &str) -> Entry {
    Entry::Admin(Box::new(Admin {
        id: id.into(),
        actor: Operator { uid: 0, name: "root".into() },
        verb: "device disable".into(),
        object: "d1".into(),
        user: None,
        sealed: Default::default(),
        revision: Some(Revision(3)),
        decision: Verdict::Allow,
        policies: vec!["bootstrap".into()],
        details: serde_json::Value::Null,
    }))
}

/// This program, to run one of its ignored tests.
pub fn again(test: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap().display().to_string();
    [&program, test, "--exact", "--ignored", "--nocapture"].map(str::to_owned).into()
}

/// [`again`], with 2 MB of disk of its own mounted at `top`.
pub fn on_a_small_disk(test: &str, top: &Path) -> Command {
    let mut command = Command::new("unshare");
    let mount = r#"mount -t tmpfs -o size=2m none "$TOP" && exec "$@""#;
    command.args(["-Urm", "sh", "-c", mount, "sh"]).args(again(test)).env("TOP", top);
    command
}
