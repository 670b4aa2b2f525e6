//! With which rights the product runs here. Every other test would prove less than it says if the
//! gateway kept a right that nobody gave it.

use std::fs;

use anyhow::{Context, Result};
use tests::{sandbox, scene::Scene};

tests::tests![the_gateway_has_the_rights_it_is_meant_to_have];

/// None at all, except where the run is about root.
pub fn the_gateway_has_the_rights_it_is_meant_to_have() -> Result<()> {
    let scene = Scene::start()?;
    let status = fs::read_to_string(format!("/proc/{}/status", scene.gateway.process()?.id()))?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    assert!(field("Name:").context("a process has a name")?.starts_with("doorward"), "{status}");
    let capabilities = field("CapEff:").context("a process has capabilities")?;
    assert_eq!(capabilities.trim_start_matches('0').is_empty(), !sandbox::as_root(), "CapEff {capabilities}");
    Ok(())
}
