//! Kernel settings of the namespace the caller is in. A setting that cannot be changed is noted,
//! never fatal: each is a safeguard or a speed-up behind the packet filter.
//! Always true: a value that is already right is not written.

use std::fs;

/// Sets each `(path below /proc/sys, value)`; returns a note for each that stayed different.
pub(crate) fn apply<'a>(settings: impl IntoIterator<Item = (String, &'a str)>) -> Vec<String> {
    settings.into_iter().filter_map(|(name, value)| set(&name, value).err()).collect()
}

fn set(name: &str, value: &str) -> Result<(), String> {
    let path = format!("/proc/sys/{name}");
    let before = fs::read_to_string(&path).map_err(|error| format!("{name} is not set: {error}"))?;
    if before.split_whitespace().eq(value.split_whitespace()) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|error| format!("{name} stays at {}: {error}", before.trim()))
}
