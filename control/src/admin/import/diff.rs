//! What an import changes, object by object and field by field. Always true: it shows no secret, and
//! says how much it leaves out where it grows too long.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{admin::noun::Shown, directory::View};

/// The most changes that are told one by one; the counts are of all.
const MOST: usize = 1000;

/// What changes.
#[derive(Debug, Default)]
pub(super) struct Diff {
    added: usize,
    changed: usize,
    removed: usize,
    told: Vec<Told>,
}

/// One object that changes.
#[derive(Debug, Serialize)]
struct Told {
    noun: String,
    name: String,
    change: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Field>,
}

/// One value of it.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Field {
    pub field: String,
    pub old: Value,
    pub new: Value,
}

impl Diff {
    pub fn added<T: Shown>(&mut self, body: &T) {
        self.added += 1;
        self.tell(body, "added", Vec::new);
    }

    pub fn removed<T: Shown>(&mut self, body: &T) {
        self.removed += 1;
        self.tell(body, "removed", Vec::new);
    }

    pub fn changed<T: Shown>(&mut self, view: &View, before: &T, after: &T, more: Option<Field>) {
        self.changed += 1;
        self.tell(after, "changed", || {
            let (before, after) = (before.shown(view), after.shown(view));
            let fields = after.as_object().into_iter().flatten().filter_map(|(field, new)| {
                let old = before.get(field).cloned().unwrap_or_default();
                (old != *new).then(|| Field { field: field.clone(), old, new: new.clone() })
            });
            fields.chain(more).collect()
        });
    }

    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    fn tell<T: Shown>(&mut self, body: &T, change: &'static str, fields: impl FnOnce() -> Vec<Field>) {
        if self.told.len() < MOST {
            let (noun, name) = (T::NOUN.to_string(), body.name());
            self.told.push(Told { noun, name, change, fields: fields() });
        }
    }

    pub fn data(&self) -> Value {
        let (added, changed, removed) = (self.added, self.changed, self.removed);
        let left_off = added + changed + removed - self.told.len();
        json!({
            "added": added, "changed": changed, "removed": removed, "changes": self.told, "left_off": left_off,
        })
    }

    pub fn text(&self) -> String {
        let (added, changed, removed) = (self.added, self.changed, self.removed);
        let mut lines: Vec<String> = self.told.iter().map(line).collect();
        let left_off = added + changed + removed - self.told.len();
        if left_off > 0 {
            lines.push(format!("… and {left_off} more"));
        }
        lines.push(format!("{added} added, {changed} changed, {removed} removed"));
        lines.join("\n")
    }
}

fn line(told: &Told) -> String {
    let sign = match told.change {
        "added" => '+',
        "removed" => '-',
        _ => '~',
    };
    let fields: Vec<String> =
        told.fields.iter().map(|Field { field, old, new }| format!("{field}: {old} → {new}")).collect();
    let fields = if fields.is_empty() { String::new() } else { format!("  {}", fields.join(", ")) };
    format!("{sign} {} {}{fields}", told.noun, told.name)
}
