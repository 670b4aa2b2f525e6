//! Whether a chain is as it was written: every line bound to the one before, checkpoints signed, nothing
//! missing that a head speaks of. It mends nothing. Always true: every problem says where, what it means
//! and whose fault it may be; memory is bounded however long the chain is.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    path::Path,
    sync::Arc,
};

use serde::Serialize;

use super::{
    Entry, Hash, Head, Line, PublicKey, Torn,
    files::{self, ChainFile, Lines, Raw},
    writer::EVERY,
};

/// More problems than these are counted only.
const LISTED: usize = 1000;
/// Lines that a start adds before its first checkpoint.
const SLACK: u64 = 16;

/// A chain, and who may have signed it.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// Where its files are.
    pub folder: &'a Path,
    /// Whose it is.
    pub gateway: &'a str,
    /// The public keys it may be signed with.
    pub keys: &'a [PublicKey],
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Files read.
    pub files: u64,
    /// Lines read.
    pub lines: u64,
    /// Checkpoints read.
    pub checkpoints: u64,
    /// The first line there is; those before were retired by policy if there is no problem.
    pub begins: u64,
    /// The last line there is.
    pub ends: u64,
    /// Lines at the end that no checkpoint signs yet.
    pub unsigned: u64,
    /// What was found, in order.
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub unlisted: u64,
}

impl Report {
    /// Whether all of it is as it was written; gaps, repairs and a line half written are part of that.
    pub fn is_sound(&self) -> bool {
        self.unlisted == 0 && self.problems.iter().all(|problem| problem.what.is_explained())
    }
}

/// Something found at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file's name.
    pub file: String,
    /// The line within the file, from 1.
    pub line: u64,
    /// What.
    pub what: What,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// The line is none of ours.
    Unreadable,
    /// The file ends in the middle of a line.
    Unfinished,
    /// The next line was written after another than this.
    Changed {
        /// Its number.
        n: u64,
    },
    /// Lines are not there.
    Missing {
        /// The first.
        from: u64,
        /// The last.
        through: u64,
    },
    /// The line comes a second time, or too late.
    OutOfOrder {
        /// Its number.
        n: u64,
    },
    /// The checkpoint is not what the gateway has signed.
    Signature {
        /// Its number.
        n: u64,
    },
    /// Too many lines without a checkpoint.
    Unsigned {
        /// The last of them.
        n: u64,
    },
    /// The chain does not begin at its beginning, and does not say why.
    Beginning {
        /// The first line there is.
        n: u64,
    },
    /// A head speaks of another line.
    OtherHead {
        /// The head's line.
        n: u64,
    },
    /// A head speaks of a line after the end.
    Cut {
        /// The last line there is.
        ends: u64,
        /// The head's line.
        n: u64,
    },
    /// What a repair left as it is, is not as it was.
    TornChanged,
    /// The file had not ended well, and the next says so.
    Repaired {
        /// In the words of the gateway.
        reason: String,
        /// Bytes that count no more.
        bytes: u64,
    },
    /// Entries were lost that nobody awaited.
    Gap {
        /// How many.
        lost: u64,
    },
}

impl What {
    /// Whether it is the gateway's own doing: said in the chain, or to be said at its next start.
    pub fn is_explained(&self) -> bool {
        matches!(self, Self::Repaired { .. } | Self::Gap { .. } | Self::Unfinished)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WHO: &str = "somebody with access to the file, or a failing disk";
        match self {
            Self::Unreadable => write!(f, "is not a line of the log: changed by {WHO}"),
            Self::Unfinished => f.write_str(
                "ends in mid-line: being written just now, or the gateway was killed; its next start says so",
            ),
            Self::Changed { n } => {
                write!(
                    f,
                    "line {n} is not the one that the next was written after: one of the two was changed by {WHO}"
                )
            }
            Self::Missing { from, through } => {
                write!(f, "lines {from} to {through} are missing before this one: taken out by {WHO}")
            }
            Self::OutOfOrder { n } => {
                write!(f, "line {n} stands where it does not belong: put there by {WHO}")
            }
            Self::Signature { n } => {
                write!(
                    f,
                    "checkpoint {n} was not signed by a key of this gateway: forged, changed, or its key is not among those given"
                )
            }
            Self::Unsigned { n } => {
                write!(
                    f,
                    "no checkpoint for more than {EVERY} lines up to {n}: the gateway always writes them, so they were taken out"
                )
            }
            Self::Beginning { n } => {
                write!(
                    f,
                    "the log begins with line {n} and no policy has retired those before: older files were deleted by hand"
                )
            }
            Self::OtherHead { n } => {
                write!(
                    f,
                    "line {n} is not the checkpoint whose head is kept elsewhere: the log was written anew, or is another gateway's"
                )
            }
            Self::Cut { ends, n } => {
                write!(
                    f,
                    "the log ends with line {ends}, but a head kept elsewhere shows that line {n} was there: its tail was cut off, or an old copy was restored"
                )
            }
            Self::TornChanged => {
                f.write_str("what a repair had set aside has changed since: a failing disk, or somebody")
            }
            Self::Repaired { reason, bytes } => {
                write!(f, "{bytes} bytes at the end were set aside by the gateway itself: {reason}")
            }
            Self::Gap { lost } => {
                write!(
                    f,
                    "the gateway lost {lost} entries before this line: its disk was full, failing or too slow"
                )
            }
        }
    }
}

/// Reads the whole chain and compares it with `heads`, as they were kept elsewhere. Blocks.
pub fn verify(chain: &Chain<'_>, heads: &[Head]) -> io::Result<Report> {
    let files = files::list(chain.folder)?;
    let mut check = Check::new(chain, heads);
    let mut torn: HashMap<String, (Torn, String)> = HashMap::new();
    for file in &files {
        if let Some(Line { entry: Entry::Repair(repair), .. }) = file.first()? {
            torn.extend(
                repair.torn.into_iter().map(|torn| (torn.file.clone(), (torn, repair.reason.clone()))),
            );
        }
    }
    for (index, file) in files.iter().enumerate() {
        check.file(file, torn.get(&file.name()), index + 1 == files.len())?;
    }
    Ok(check.finish())
}

/// Where a line stands.
#[derive(Clone, Default)]
struct At {
    file: Arc<str>,
    line: u64,
}

struct Check<'a> {
    chain: &'a Chain<'a>,
    heads: BTreeMap<u64, &'a Head>,
    report: Report,
    at: At,
    /// The last line that could be read: where, which, its hash.
    last: Option<(At, u64, Hash)>,
    /// Lines since then that could not.
    unreadable: u64,
    unsigned: u64,
    /// What comes before the first line there is, until a policy says that it was retired.
    before: Option<(At, u64, Hash)>,
}

impl<'a> Check<'a> {
    fn new(chain: &'a Chain<'a>, heads: &'a [Head]) -> Self {
        let ours = heads.iter().filter(|head| *head.gateway == *chain.gateway);
        Self {
            chain,
            heads: ours.map(|head| (head.n, head)).collect(),
            report: Report::default(),
            at: At::default(),
            last: None,
            unreadable: 0,
            unsigned: 0,
            before: None,
        }
    }

    fn problem(&mut self, what: What) {
        let at = self.at.clone();
        self.problem_at(&at, what);
    }

    fn problem_at(&mut self, at: &At, what: What) {
        if self.report.problems.len() < LISTED {
            let (file, line) = (at.file.to_string(), at.line);
            self.report.problems.push(Problem { file, line, what });
        } else {
            self.report.unlisted += 1;
        }
    }

    fn file(&mut self, file: &ChainFile, torn: Option<&(Torn, String)>, is_last: bool) -> io::Result<()> {
        self.at = At { file: file.name().into(), line: 0 };
        self.report.files += 1;
        for raw in Lines::open(&file.path, torn.map_or(u64::MAX, |(torn, _)| torn.after))? {
            let raw = raw?;
            self.at.line = raw.number;
            match raw.line() {
                Some(line) => self.line(&raw, line),
                None => {
                    self.unreadable += u64::from(raw.ends);
                    self.problem(if raw.ends || !is_last { What::Unreadable } else { What::Unfinished });
                }
            }
        }
        if let Some((torn, reason)) = torn {
            self.at.line += 1;
            let same = file.torn(torn.after)? == *torn;
            let repaired = What::Repaired { reason: reason.clone(), bytes: torn.bytes };
            self.problem(if same { repaired } else { What::TornChanged });
        }
        Ok(())
    }

    fn line(&mut self, raw: &Raw, line: Line) {
        self.report.lines += 1;
        self.place(&line);
        self.head(&line);
        self.unsigned += 1;
        match &line.entry {
            Entry::Checkpoint { .. } => self.checkpoint(raw, &line),
            Entry::Gap { lost } => self.problem(What::Gap { lost: *lost }),
            Entry::Retired { through, hash } => {
                self.before.take_if(|(_, n, prev)| *n <= *through || *n == through + 1 && prev == hash);
            }
            Entry::Start { .. }
            | Entry::Stop
            | Entry::Admin(_)
            | Entry::Session(_)
            | Entry::Revocation { .. }
            | Entry::Decision(_)
            | Entry::Ended { .. }
            | Entry::Erasure { .. }
            | Entry::Repair(_)
            | Entry::Unknown => {}
        }
        if self.unsigned == EVERY + SLACK {
            self.problem(What::Unsigned { n: line.n });
        }
        self.unreadable = 0;
        self.last = Some((self.at.clone(), line.n, Hash::of(&raw.bytes)));
    }

    /// Whether it belongs after the last.
    fn place(&mut self, line: &Line) {
        let Some((at, n, hash)) = self.last.clone() else {
            // Before an unreadable first line there was none.
            let begins = line.n.saturating_sub(self.unreadable);
            self.report.begins = begins;
            let is_first = begins == 1 && (self.unreadable > 0 || line.prev == Hash::NONE);
            self.before = (!is_first).then(|| (self.at.clone(), begins, line.prev));
            return;
        };
        let expected = n + 1 + self.unreadable;
        if line.n <= n || line.n < expected && self.unreadable == 0 {
            self.problem(What::OutOfOrder { n: line.n });
        } else if line.n > expected {
            self.problem(What::Missing { from: expected, through: line.n - 1 });
        } else if self.unreadable == 0 && line.prev != hash {
            self.problem_at(&at, What::Changed { n });
        }
    }

    fn head(&mut self, line: &Line) {
        let Some(head) = self.heads.remove(&line.n) else { return };
        let is_it = matches!(line.entry, Entry::Checkpoint { .. }) && line.prev == head.hash;
        if !is_it || !head.is_signed_by(self.chain.keys) {
            self.problem(What::OtherHead { n: line.n });
        }
    }

    fn checkpoint(&mut self, raw: &Raw, line: &Line) {
        self.report.checkpoints += 1;
        self.unsigned = 0;
        let Entry::Checkpoint { n, head, signature, key } = &line.entry else { return };
        let said = Head {
            gateway: self.chain.gateway.into(),
            n: *n,
            hash: *head,
            at: line.at.clone(),
            signature: signature.clone(),
            key: key.clone(),
        };
        let stands = *n == line.n && *head == line.prev;
        // The last line has none after it that holds its bytes, so they must be the only ones possible.
        if !stands || !said.is_signed_by(self.chain.keys) || line.encoded() != raw.bytes {
            self.problem(What::Signature { n: line.n });
        }
    }

    fn finish(mut self) -> Report {
        if let Some((at, n, _)) = self.before.take() {
            self.problem_at(&at, What::Beginning { n });
        }
        self.report.ends = self.last.as_ref().map_or(0, |(_, n, _)| *n);
        self.report.unsigned = self.unsigned;
        let begins = self.report.begins;
        let mut left = std::mem::take(&mut self.heads).into_values().filter(|head| head.n >= begins);
        if let Some(head) = left.next_back() {
            let ends = self.report.ends;
            self.problem(if head.n > ends {
                What::Cut { ends, n: head.n }
            } else {
                What::OtherHead { n: head.n }
            });
        }
        self.report
    }
}
