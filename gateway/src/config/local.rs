//! `[local]`: what the gateway itself may dial, under the same rules as a connector.

use protocol::{
    config::Section,
    target::{AllowRule, TargetRules},
};

pub(super) fn read(s: &mut Section<'_>) -> Option<TargetRules> {
    let allow: Vec<AllowRule> = s.texts("allow")?;
    Some(TargetRules { allow })
}
