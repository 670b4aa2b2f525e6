//! The answer to a [`Request`](crate::facts::Request). A denial is a value, not an error.

use std::{fmt, sync::Arc};

use protocol::time::Timestamp;
use serde::Serialize;

pub use crate::step_up::StepUp;

/// A policy's `@id`.
pub type PolicyId = Arc<str>;

/// Allow until when, or deny and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// Allowed.
    Allow {
        /// The first instant at which the answer may differ; `None` if time alone never changes it.
        until: Option<Timestamp>,
        /// The permits that matched.
        policies: Vec<PolicyId>,
    },
    /// Denied.
    Deny {
        /// The first instant at which the answer may differ; `None` if time alone never changes it.
        until: Option<Timestamp>,
        /// What stood in the way, most telling first; never empty.
        reasons: Vec<Reason>,
        /// The sign-in by which it would be allowed, if there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        step_up: Option<StepUp>,
    },
}

/// One thing that stood in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// A forbid matched.
    Forbidden {
        /// Which.
        policy: PolicyId,
        /// Its `@reason`, or its title, or its id.
        reason: String,
        /// Its `@advice`.
        advice: Option<String>,
        /// Its `@step_up`, if with that it would not match; another policy may still stand in the way.
        #[serde(skip_serializing_if = "Option::is_none")]
        step_up: Option<StepUp>,
    },
    /// A permit names this person and this resource, but a condition does not hold.
    NotMet {
        /// Which permit.
        policy: PolicyId,
        /// Its `@title`, if any.
        title: Option<String>,
        /// The conditions that fail, in words: `device.disk_encrypted is missing`.
        conditions: Vec<String>,
        /// Its `@advice`.
        advice: Option<String>,
        /// Its `@step_up`, if with that it would match; another policy may still stand in the way.
        #[serde(skip_serializing_if = "Option::is_none")]
        step_up: Option<StepUp>,
    },
    /// No permit names this person for this resource.
    NoPolicy,
    /// A policy could not be evaluated: the operator's fault, and a denial.
    Error {
        /// Which; empty if no single one is at fault.
        policy: PolicyId,
        /// Cedar's words; for logs, not for the person denied.
        error: String,
    },
}

impl Decision {
    /// Whether it allows.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// The first instant at which the answer may differ; `None` if time alone never changes it.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Allow { until, .. } | Self::Deny { until, .. } => *until,
        }
    }

    /// The sign-in that would turn a denial: asked again at the same instant about the same facts, but with the
    /// session of [`StepUp::renewed`], the policies allow it. One thing is hoped for rather than certain: the methods
    /// that the policies which ask for an `acr` want to see in `amr` are taken to come with it.
    pub fn step_up(&self) -> Option<&StepUp> {
        match self {
            Self::Allow { .. } => None,
            Self::Deny { step_up, .. } => step_up.as_ref(),
        }
    }
}

impl fmt::Display for Reason {
    /// For the person denied: Cedar's own words about an error stay in the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self {
            Self::Forbidden { reason, advice, .. } => {
                f.write_str(reason)?;
                advice
            }
            Self::NotMet { policy, title, conditions, advice, .. } => {
                let name = title.as_deref().unwrap_or(policy);
                write!(f, "{name:?} would allow it, but {}", conditions.join(", and "))?;
                advice
            }
            Self::NoPolicy => return f.write_str("no policy allows it"),
            Self::Error { policy, .. } if policy.is_empty() => {
                return f.write_str("the policies could not be evaluated");
            }
            Self::Error { policy, .. } => return write!(f, "policy {policy:?} could not be evaluated"),
        };
        match advice {
            Some(advice) => write!(f, ". {advice}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn reasons_read_as_sentences() {
        let forbidden = Reason::Forbidden {
            policy: "guard".into(),
            reason: "Disk encryption is off".into(),
            advice: Some("Turn it on".into()),
            step_up: None,
        };
        assert_eq!(forbidden.to_string(), "Disk encryption is off. Turn it on");
        let not_met = Reason::NotMet {
            policy: "wiki".into(),
            title: None,
            conditions: vec!["device is missing".into(), "user.email is missing".into()],
            advice: None,
            step_up: None,
        };
        assert_eq!(
            not_met.to_string(),
            "\"wiki\" would allow it, but device is missing, and user.email is missing"
        );
        let error = Reason::Error { policy: "p".into(), error: "overflow in the deep".into() };
        assert!(!error.to_string().contains("deep"));
    }

    #[test]
    fn serializes_for_logs() {
        let decision = Decision::Deny { until: None, reasons: vec![Reason::NoPolicy], step_up: None };
        assert_eq!(
            serde_json::to_string(&decision).unwrap(),
            r#"{"decision":"deny","until":null,"reasons":[{"kind":"no_policy"}]}"#
        );
        let step_up = StepUp { max_age: Some(Duration::from_secs(900)), acr: None };
        let decision =
            Decision::Deny { until: None, reasons: vec![Reason::NoPolicy], step_up: Some(step_up) };
        assert_eq!(
            serde_json::to_string(&decision).unwrap(),
            r#"{"decision":"deny","until":null,"reasons":[{"kind":"no_policy"}],"step_up":{"max_age":900}}"#
        );
    }
}
