//! Programs people use, unchanged, through the tunnel: ssh, psql, curl, and our own device client.
//! Each is run once; what it is allowed is tested elsewhere.

use anyhow::Result;
use tests::{
    company::{DESK, GATEWAY, SERVER},
    device::write_config,
    gateway::product,
    mirror::field,
    scene::Scene,
    services,
};

tests::tests![ssh_works, psql_works, nginx_is_served, our_device_client_needs_no_rights];

pub fn ssh_works() -> Result<()> {
    let scene = Scene::start()?;
    let sshd = services::sshd(&scene.world.servers, 2222)?;
    let laptop = scene.device("laptop")?;
    assert_eq!(sshd.run(laptop.host(), "desk.corp.example", 2222, "id -un")?, "tester");
    Ok(())
}

fn psql_works() -> Result<()> {
    let scene = Scene::start()?;
    let _postgres = services::postgres(&scene.world.servers, 5432)?;
    let laptop = scene.device("laptop")?;
    assert_eq!(services::query(laptop.host(), DESK, 5432, "select 6 * 7")?, "42");
    assert_eq!(services::query(laptop.host(), SERVER, 5432, "select current_user")?, "tester");
    Ok(())
}

fn nginx_is_served() -> Result<()> {
    let scene = Scene::start()?;
    let _nginx = services::nginx(&scene.world.servers, 8081)?;
    assert_eq!(scene.device("laptop")?.page(&["http://10.50.0.7:8081/"])?, "nginx");
    Ok(())
}

fn our_device_client_needs_no_rights() -> Result<()> {
    let scene = Scene::start()?;
    let machine = scene.company.machine("laptop")?;
    let host = scene.world.device("laptop", machine.number)?;
    let file = host.folder().join("tunnel.conf");
    let text = scene.device_text("laptop")?;
    write_config(&file, &text, &machine.key)?;
    let mut command = product(&host, "doorward-device")?;
    command.arg("run").arg("--config").arg(&file).args(["--", "curl", "--disable", "--silent", "--fail"]);
    command.arg("http://wiki.corp.example/");
    let head = host.expect_success(&command)?;
    assert_eq!(field(&head, "X-Forwarded-User"), Some("corp/alice"));
    // The machine itself has no tunnel.
    assert!(host.sh("ping", &["-c", "1", "-W", "1", GATEWAY]).is_err());
    Ok(())
}
