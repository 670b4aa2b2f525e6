//! The fixture holds without the product: stock clients on both ends, real services behind them.
//! It says nothing about Doorward; it says whether a failure elsewhere may be the fixture's.

use anyhow::Result;
use tests::{
    device::{Device, KeyPair},
    services,
    world::World,
};

tests::tests![a_stock_tunnel_reaches_real_services];

const GATEWAY: &str = "10.98.0.1";

fn a_stock_tunnel_reaches_real_services() -> Result<()> {
    let world = World::new()?;
    let (gateway, laptop) = (KeyPair::fresh()?, KeyPair::fresh()?);
    let far = format!(
        "[Interface]\nPrivateKey =\nAddress = {GATEWAY}/24\nListenPort = 51820\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 10.98.0.2/32\n",
        laptop.public
    );
    let near = format!(
        "[Interface]\nPrivateKey =\nAddress = 10.98.0.2/24\nDNS = {GATEWAY}, corp.example\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 10.98.0.0/24\nEndpoint = 10.77.0.20:51820\n",
        gateway.public
    );
    let far = Device::start(world.device("far", 20)?, &far, &gateway)?;
    let _nginx = services::nginx(far.host(), 8080)?;
    let _postgres = services::postgres(far.host(), 5432)?;
    let sshd = services::sshd(far.host(), 2222)?;
    let laptop = Device::up(world.device("laptop", 10)?, &near, &laptop, GATEWAY)?;

    assert_eq!(laptop.page(&[&format!("http://{GATEWAY}:8080/")])?, "nginx");
    let resolver = laptop.host().sh("cat", &["/etc/resolv.conf"])?;
    assert!(resolver.contains(GATEWAY) && resolver.contains("corp.example"), "{resolver}");
    assert_eq!(services::query(laptop.host(), GATEWAY, 5432, "select 6 * 7")?, "42");
    assert_eq!(sshd.run(laptop.host(), GATEWAY, 2222, "id -un")?, "tester");
    Ok(())
}
