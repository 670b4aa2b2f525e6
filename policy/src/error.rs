//! What is wrong with a set of policies, each mistake at its place, as a compiler would say it.
//! The operator is the reader and the one at fault.

use std::{fmt, sync::Arc};

use crate::decision::PolicyId;

/// One mistake in a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// The file's name as it was given.
    pub file: Arc<str>,
    /// From 1; 0 if no line is at fault.
    pub line: usize,
    /// From 1, in characters; 0 if no line is at fault.
    pub column: usize,
    /// The `@id` of the policy, if it has one.
    pub policy: Option<PolicyId>,
    /// What is wrong.
    pub reason: String,
    /// What to do, if that is known.
    pub help: Option<String>,
    /// The line itself.
    pub source: String,
}

/// Every mistake found, in the order of the files and their lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadErrors(Vec<LoadError>);

impl LoadErrors {
    /// Sorted by place. `None` if there are none.
    pub(crate) fn new(mut errors: Vec<LoadError>) -> Option<Self> {
        errors.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// The single mistake of a part that has no text of its own.
    pub(crate) fn whole(part: &str, reason: String, help: Option<&str>) -> Self {
        Self(vec![LoadError::whole(part, reason, help)])
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &LoadError> {
        self.0.iter()
    }
}

impl LoadError {
    pub(crate) fn whole(part: &str, reason: String, help: Option<&str>) -> Self {
        Self {
            file: part.into(),
            line: 0,
            column: 0,
            policy: None,
            reason,
            help: help.map(str::to_owned),
            source: String::new(),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.reason)?;
        if self.line == 0 {
            write!(f, "\n  --> {}", self.file)?;
        } else {
            write!(f, "\n  --> {}:{}:{}", self.file, self.line, self.column)?;
        }
        if let Some(policy) = &self.policy {
            write!(f, " (policy {policy:?})")?;
        }
        if self.line > 0 {
            let gutter = self.line.to_string().len();
            let caret = self.column.saturating_sub(1);
            write!(
                f,
                "\n{:gutter$} |\n{} | {}\n{:gutter$} | {:caret$}^",
                "", self.line, self.source, "", ""
            )?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  = help: {help}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_a_compiler() {
        let error = LoadError {
            file: "a.cedar".into(),
            line: 12,
            column: 5,
            policy: Some("wiki".into()),
            reason: "no such action".into(),
            help: Some("did you mean connect?".into()),
            source: "    action == x".into(),
        };
        let expected = "error: no such action\n  --> a.cedar:12:5 (policy \"wiki\")\n   |\n12 |     action == x\n   |     ^\n  = help: did you mean connect?";
        assert_eq!(error.to_string(), expected);
    }
}
