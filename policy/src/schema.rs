//! The text of the schema every policy is validated against.
//! It holds no facts and checks nothing itself; Cedar's validator does.
//! Always true: only the record of time zones differs between two installations.

use crate::zone::Zone;

/// Where the generated record goes in the base text.
const ZONES: &str = "/* zones */";

const BASE: &str = include_str!("doorward.cedarschema");

/// The schema for `zones`, which are checked already and include `utc`.
pub(crate) fn text(zones: &[Zone]) -> String {
    let fields: Vec<String> = zones.iter().map(|zone| format!("{}: LocalTime", zone.name)).collect();
    BASE.replace(ZONES, &format!("{{ {} }}", fields.join(", ")))
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;

    #[test]
    fn zones_are_filled_in() {
        let zones = [
            Zone { name: "utc".into(), tz: Tz::UTC },
            Zone { name: "berlin".into(), tz: Tz::Europe__Berlin },
        ];
        let text = text(&zones);
        assert!(text.contains("type Zones = { utc: LocalTime, berlin: LocalTime };"));
        assert!(!text.contains(ZONES));
    }
}
