//! Reads policy files: parses, checks ids, validates strictly at level 1, all mistakes of all files at once.
//! It does not open files (the caller did) and does not index.
//! Always true: every policy that leaves here is static, valid, and bears its own unique `@id`; what is
//! built in is always among them.

use std::{
    collections::{BTreeMap, HashMap},
    str::FromStr,
    sync::Arc,
};

use cedar_policy::{Policy, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

use crate::{
    cedar::{self, Parts},
    decision::PolicyId,
    error::{LoadError, LoadErrors},
    lint::Lint,
    schema,
    step_up::{self, StepUp},
    zone::{self, Zone},
};

/// A policy file, read by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Its name, for messages.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Lets a fresh gateway be administered at all. A company forbids what it does not want of it.
const BUILT_IN: &str = r#"
@id("bootstrap")
@title("Root administers the gateway")
permit (principal, action in [Doorward::Action::"admin"], resource) when { principal.root };
"#;
/// Stands where a file's name does; no file is called so.
pub(crate) const BUILT_IN_FILE: &str = "";

/// More policies than these do not load.
const MAX_POLICIES: usize = 100_000;
/// Nesting beyond this does not load: Cedar evaluates recursively and gives up, as an error, when the
/// stack runs low (measured: between 20 and 50 levels in 2 MiB when unoptimised).
const MAX_DEPTH: usize = 64;
/// An id is repeated in every log line.
const MAX_ID: usize = 128;

/// One policy, named.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) id: PolicyId,
    pub(crate) file: Arc<str>,
    pub(crate) line: usize,
    pub(crate) policy: Policy,
    pub(crate) step_up: Option<StepUp>,
}

/// Everything an engine is made of.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) zones: Vec<Zone>,
    pub(crate) schema: Schema,
    pub(crate) schema_text: String,
    /// By id.
    pub(crate) policies: Vec<(Parsed, Parts)>,
    /// What Cedar's validator warns of.
    pub(crate) warnings: Vec<Lint>,
}

/// Reads all of `files`.
pub(crate) fn load(files: &[PolicyFile], zones: &[Zone]) -> Result<Loaded, LoadErrors> {
    let zones = zone::with_utc(zones).map_err(|errors| {
        let whole = |error: &zone::ZoneError| LoadError::whole("zones", error.to_string(), None);
        LoadErrors::new(errors.iter().map(whole).collect()).expect("with_utc never fails without a reason")
    })?;
    let schema_text = schema::text(&zones);
    let (schema, _) = Schema::from_cedarschema_str(&schema_text).map_err(|e| {
        LoadErrors::whole("schema", e.to_string(), Some("this is a fault of the program itself"))
    })?;
    let mut reader = Reader::new(schema);
    reader.read(&PolicyFile { name: BUILT_IN_FILE.into(), text: BUILT_IN.into() });
    let built_in = reader.policies.len();
    for file in files {
        reader.read(file);
    }
    let count = reader.policies.len() - built_in;
    if count > MAX_POLICIES {
        let reason = format!("{count} policies; at most {MAX_POLICIES} can be loaded");
        reader.errors.push(LoadError::whole("policies", reason, None));
    }
    match LoadErrors::new(reader.errors) {
        Some(errors) => Err(errors),
        None => Ok(Loaded {
            zones,
            schema: reader.validator.schema().clone(),
            schema_text,
            policies: reader.policies.into_values().collect(),
            warnings: reader.warnings,
        }),
    }
}

struct Reader {
    validator: Validator,
    policies: BTreeMap<PolicyId, (Parsed, Parts)>,
    /// Where each id was first used, written out.
    places: HashMap<PolicyId, String>,
    errors: Vec<LoadError>,
    warnings: Vec<Lint>,
}

/// A file on its way through the checks.
struct Source<'a> {
    name: Arc<str>,
    text: &'a str,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

impl Reader {
    fn new(schema: Schema) -> Self {
        Self {
            validator: Validator::new(schema),
            policies: BTreeMap::new(),
            places: HashMap::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn read(&mut self, file: &PolicyFile) {
        let source = Source::new(file);
        let set = match PolicySet::from_str(&file.text) {
            Ok(set) => set,
            Err(errors) => {
                self.errors.extend(errors.iter().map(|error| source.diagnosed(error, 0, None, None)));
                return;
            }
        };
        for template in set.templates() {
            let help = "write one policy for each person and resource, or name a group";
            let reason = "templates (?principal, ?resource) are not supported yet".to_owned();
            self.errors.push(source.at(
                cedar::template_offset(template),
                None,
                reason,
                Some(help.to_owned()),
            ));
        }
        let mut policies: Vec<(&Policy, Parts)> =
            set.policies().filter_map(|policy| Some((policy, cedar::dissect(policy)?))).collect();
        policies.sort_by_key(|(_, parts)| parts.offset);
        if self.refuse_deep(&source, &policies) {
            return;
        }
        let before = self.errors.len();
        self.validate(&source, &set, &policies);
        if policies.len() < set.policies().count() && self.errors.len() == before {
            // Validation names it; nothing that was not taken apart may load without a word.
            self.errors.push(source.at(0, None, "a policy's scope cannot be read".to_owned(), None));
        }
        for (policy, parts) in policies {
            self.take(&source, policy, parts);
        }
    }

    /// Whether any policy nests too deeply even to be validated.
    fn refuse_deep(&mut self, source: &Source<'_>, policies: &[(&Policy, Parts)]) -> bool {
        let before = self.errors.len();
        for (policy, parts) in policies {
            if parts.body.as_ref().is_some_and(|body| cedar::depth(body) > MAX_DEPTH) {
                let reason = format!("the condition nests deeper than {MAX_DEPTH} expressions");
                let help =
                    Some("test for membership in a set or a group instead of many alternatives".to_owned());
                self.errors.push(source.at(parts.offset, id_of(policy).ok(), reason, help));
            }
        }
        self.errors.len() > before
    }

    fn validate(&mut self, source: &Source<'_>, set: &PolicySet, policies: &[(&Policy, Parts)]) {
        let found = |id: &cedar_policy::PolicyId| policies.iter().find(|(policy, _)| policy.id() == id);
        let offset = |id| found(id).map_or(0, |(_, parts)| parts.offset);
        let name = |id| found(id).and_then(|(policy, _)| id_of(policy).ok());
        let result = self.validator.validate_with_level(set, ValidationMode::Strict, 1);
        for error in result.validation_errors() {
            let id = error.policy_id();
            self.errors.push(source.diagnosed(error, offset(id), Some(id), name(id)));
        }
        for warning in result.validation_warnings() {
            let id = warning.policy_id();
            let error = source.diagnosed(warning, offset(id), Some(id), name(id));
            self.warnings.push(Lint {
                policy: error.policy,
                file: error.file,
                line: error.line,
                message: error.reason,
            });
        }
    }

    /// Keeps a policy under its `@id`.
    fn take(&mut self, source: &Source<'_>, policy: &Policy, parts: Parts) {
        let (line, column) = source.position(parts.offset);
        let id = match id_of(policy) {
            Ok(id) => id,
            Err(reason) => {
                let help = r#"begin the policy with @id("a-name"): logs and tests know it by this name"#;
                self.errors.push(source.at(parts.offset, None, reason, Some(help.to_owned())));
                return;
            }
        };
        let place = match &*source.name {
            BUILT_IN_FILE => "by a policy that is built in".to_owned(),
            file => format!("at {file}:{line}:{column}"),
        };
        if let Some(first) = self.places.get(&id) {
            let reason = format!("the @id {id:?} is already used {first}");
            self.errors.push(source.at(
                parts.offset,
                Some(id),
                reason,
                Some("give each its own @id".to_owned()),
            ));
            return;
        }
        self.places.insert(id.clone(), place);
        let step_up = self.step_up(source, policy, &id, parts.offset);
        let policy = policy.new_id(cedar_policy::PolicyId::new(&*id));
        let parsed = Parsed { id: id.clone(), file: Arc::clone(&source.name), line, policy, step_up };
        self.policies.insert(id, (parsed, parts));
    }

    /// Its `@step_up`. One that cannot be read stops the load.
    fn step_up(
        &mut self,
        source: &Source<'_>,
        policy: &Policy,
        id: &PolicyId,
        offset: usize,
    ) -> Option<StepUp> {
        let text = policy.annotation("step_up")?;
        let refused = match step_up::read(text) {
            Ok(step_up) => return Some(step_up),
            Err(refused) => refused,
        };
        let reason = format!("the policy's @step_up cannot be read: {refused}");
        self.errors.push(source.at(offset, Some(id.clone()), reason, Some(step_up::HELP.to_owned())));
        None
    }
}

fn id_of(policy: &Policy) -> Result<PolicyId, String> {
    match policy.annotation("id") {
        None => Err("the policy has no @id".into()),
        Some(id) if id.trim().is_empty() => Err("the policy's @id is empty".into()),
        Some(id) if id.len() > MAX_ID || id.contains(char::is_control) => {
            Err(format!("an @id has at most {MAX_ID} bytes and no control characters"))
        }
        Some(id) => Ok(id.into()),
    }
}

impl<'a> Source<'a> {
    fn new(file: &'a PolicyFile) -> Self {
        let breaks = file.text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        Self { name: file.name.as_str().into(), text: &file.text, lines }
    }

    /// Line and column, both from 1, of a byte; the column counts characters.
    fn position(&self, offset: usize) -> (usize, usize) {
        // The first line begins at 0, so that at least one begins no later than any byte.
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    fn at(&self, offset: usize, policy: Option<PolicyId>, reason: String, help: Option<String>) -> LoadError {
        let (line, column) = self.position(offset);
        let rest = self.lines.get(line - 1).and_then(|start| self.text.get(*start..));
        let source = rest.and_then(|rest| rest.lines().next()).unwrap_or_default().to_owned();
        LoadError { file: Arc::clone(&self.name), line, column, policy, reason, help, source }
    }

    /// A finding of Cedar's; `given` is the id by which Cedar speaks of the policy.
    fn diagnosed(
        &self,
        error: &(impl Diagnostic + ?Sized),
        fallback: usize,
        given: Option<&cedar_policy::PolicyId>,
        policy: Option<PolicyId>,
    ) -> LoadError {
        let offset =
            error.labels().and_then(|mut labels| labels.next()).map_or(fallback, |label| label.offset());
        // Cedar begins with the id it gave the policy, which nobody wrote.
        let plain = |text: String| {
            let prefix = given.map(|given| format!("for policy `{given}`, "));
            prefix.and_then(|prefix| text.strip_prefix(&prefix).map(str::to_owned)).unwrap_or(text)
        };
        self.at(offset, policy, plain(error.to_string()), error.help().map(|help| plain(help.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        let position = |text: &str, offset| {
            let file = PolicyFile { name: "a".into(), text: text.into() };
            Source::new(&file).position(offset)
        };
        assert_eq!(position("", 0), (1, 1));
        assert_eq!(position("ab\ncd", 2), (1, 3));
        assert_eq!(position("ab\ncd", 3), (2, 1));
        assert_eq!(position("ab\ncd", 4), (2, 2));
        assert_eq!(position("äb", 2), (1, 2));
        assert_eq!(position("a\n", 99), (2, 1));
    }
}
