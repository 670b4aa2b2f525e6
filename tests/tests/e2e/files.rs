//! The operator's files: a mistake is said with its place and never comes into force.
//! Which mistakes there are is tested where they are found; here, that the programs say them.

use std::fs;

use anyhow::{Result, ensure};
use tests::{
    company::{Company, DESK, ECHO, STAFF},
    connections::Connections,
    gateway::Gateway,
    probe::echo,
    scene::Scene,
    world::World,
};

tests::tests![
    an_unknown_key_refuses_to_start,
    every_mistake_is_said_at_once,
    a_key_others_can_read_refuses_to_start,
    a_policy_mistake_says_where,
    a_half_saved_policy_folder_never_comes_into_force,
    a_broken_directory_keeps_the_old_one,
    a_broken_configuration_keeps_the_old_one,
    what_init_writes_is_without_mistakes,
];

/// What `doorward check` and `doorward gateway` say of files that must be refused.
fn refused(edit: impl FnOnce(&mut Company, &Gateway) -> Result<()>) -> Result<String> {
    let world = World::new()?;
    let gateway = Gateway::prepare(&world.gw)?;
    let mut company = Company::new()?;
    gateway.write(&company)?;
    gateway.ask(&world.gw, &["check"])?;
    edit(&mut company, &gateway)?;
    gateway.write(&company)?;
    let checked = gateway.cli(&world.gw, &["check"])?;
    let started = gateway.cli(&world.gw, &["gateway"])?;
    ensure!(checked.status.code() == Some(1), "check: {}", checked.status);
    ensure!(!started.status.success() && started.status.code() != Some(124), "gateway: {}", started.status);
    let said = |output: &std::process::Output| {
        String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
    };
    let checked = said(&checked);
    let first =
        checked.lines().find(|line| line.contains(".toml:") || line.contains(".cedar:")).unwrap_or(&checked);
    ensure!(said(&started).contains(first), "gateway does not say {first:?}:\n{}", said(&started));
    Ok(checked)
}

fn an_unknown_key_refuses_to_start() -> Result<()> {
    let said = refused(|company, _| {
        company.more =
            "[[app]]\nname = \"x\"\nsite = \"fra\"\nkind = \"tcp\"\nhosts = [\"x.corp.example\"]\n\
                        ports = [1]\ntarget = \"10.50.0.7\"\ncolour = \"red\"\n"
                .to_owned();
        Ok(())
    })?;
    assert!(said.contains("doorward.toml:") && said.contains("colour"), "{said}");
    Ok(())
}

/// A section with three mistakes, and the keys at which they are.
const BROKEN: &str = "[[subnet]]\nname = \"UPPER\"\nsite = \"nowhere\"\ncidr = \"10.9.0.0/99\"\n";
const MISTAKES: [&str; 3] = ["subnet[2].name", "subnet[2].site", "subnet[2].cidr"];

fn every_mistake_is_said_at_once() -> Result<()> {
    let said = refused(|company, _| {
        company.more = BROKEN.to_owned();
        Ok(())
    })?;
    for key in MISTAKES {
        assert!(said.contains(key), "{key} is missing in:\n{said}");
    }
    Ok(())
}

fn a_key_others_can_read_refuses_to_start() -> Result<()> {
    let said = refused(|_, gateway| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(gateway.folder().join("gateway.key"), fs::Permissions::from_mode(0o644))?;
        Ok(())
    })?;
    assert!(said.contains("gateway.key"), "{said}");
    Ok(())
}

fn a_policy_mistake_says_where() -> Result<()> {
    let said = refused(|company, _| {
        company.policies.insert("staff", STAFF.replace("corp/staff\",", "corp/staff\",\n  bogus"));
        Ok(())
    })?;
    assert!(said.contains("staff.cedar:5:"), "{said}");
    Ok(())
}

fn a_half_saved_policy_folder_never_comes_into_force() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "before")?;
    // An editor at work: one file cut short, the other one emptied.
    let policies = scene.gateway.folder().join("policies");
    let half = STAFF.get(..STAFF.len() / 2).unwrap_or_default();
    fs::write(policies.join("staff.cedar"), half)?;
    fs::write(policies.join("guards.cedar"), "")?;
    let said = scene.gateway.cli(&scene.world.gw, &["reload"])?;
    assert!(!said.status.success(), "a broken folder was accepted");
    assert!(String::from_utf8_lossy(&said.stderr).contains("staff.cedar:"), "{said:?}");
    scene.gateway.process()?.expect_errors();
    scene.gateway.hang_up()?;
    echo(&mut flow, "after")?;
    echo(&mut laptop.dial(&format!("{DESK}:{ECHO}"))?, "anew")
}

fn a_broken_directory_keeps_the_old_one() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let file = scene.gateway.folder().join("directory.toml");
    let before = everything(&scene)?;
    let broken = fs::read_to_string(&file)?
        .replace("owner = \"corp/alice\"", "owner = \"corp/nobody\"")
        .replace("groups = []", "groups = [\"corp/unheard\"]");
    fs::write(&file, broken)?;
    let import = format!("import {} --prune --again", file.display());
    let said = scene.gateway.admin_refused(&scene.world.gw, &import)?;
    for mistake in ["corp/nobody", "corp/unheard"] {
        assert!(said.contains(mistake), "{mistake} is missing in:\n{said}");
    }
    assert_eq!(everything(&scene)?, before);
    echo(&mut laptop.dial(&format!("{DESK}:{ECHO}"))?, "still")
}

/// What the store holds of people, groups, devices and connectors.
fn everything(scene: &Scene) -> Result<String> {
    ["user", "group", "device", "connector"]
        .iter()
        .map(|noun| scene.admin(&format!("{noun} list --json")))
        .collect()
}

fn a_broken_configuration_keeps_the_old_one() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut open = Connections::open(&laptop)?;
    scene.company.more = BROKEN.to_owned();
    // Were this file loaded, nobody would get in.
    scene.company.policies.clear();
    scene.gateway.write(&scene.company)?;
    let output = scene.gateway.cli(&scene.world.gw, &["reload"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for key in MISTAKES {
        assert!(said.contains("doorward.toml:") && said.contains(key), "{key} is missing in:\n{said}");
    }
    open.expect_open()?;
    Connections::open(&laptop)?;
    assert!(scene.status().is_ok(), "the status can be asked for");
    Ok(())
}

fn what_init_writes_is_without_mistakes() -> Result<()> {
    let world = World::new()?;
    let folder = world.gw.folder().join("fresh");
    let mut init = tests::gateway::product(&world.gw, "doorward")?;
    init.arg("init").arg(&folder);
    world.gw.expect_success(&init)?;
    let mut check = tests::gateway::product(&world.gw, "doorward")?;
    check.arg("check").arg("--config").arg(folder.join("doorward.toml"));
    world.gw.expect_success(&check)?;
    assert!(world.gw.expect_success(&init).is_err(), "init wrote over an existing folder");
    Ok(())
}
