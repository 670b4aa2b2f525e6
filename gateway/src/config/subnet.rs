//! Every `[[subnet]]`: a network at a site, reachable as a whole.

use std::sync::Arc;

use ipnet::IpNet;
use policy::facts::Subnet;
use protocol::{
    config::{Mistake, Section},
    id::SubnetId,
};

use super::{
    app::read_sensitivity,
    device::Devices,
    site::Sites,
    text::{Cidr, overlap},
    tunnel::Tunnel,
    unique::Unique,
};

/// What a subnet is checked against.
pub(super) struct Around<'a> {
    pub sites: &'a Sites,
    pub devices: &'a Devices,
    pub tunnel: Option<&'a Tunnel>,
}

pub(super) fn read(
    s: &mut Section<'_>,
    around: &Around<'_>,
    warnings: &mut Vec<Mistake>,
) -> Vec<Arc<Subnet>> {
    let (mut names, mut cidrs) = (Unique::default(), Unique::default());
    s.sections("subnet", |s| {
        let id: Option<SubnetId> = s.text("name");
        if let Some(id) = &id {
            names.claim(s, "name", id.clone());
        }
        let site = around.sites.take(s);
        let cidr = read_cidr(s, around, &mut cidrs, warnings);
        let groups = s.texts_or_empty("groups");
        let sensitivity = read_sensitivity(s);
        Some(Arc::new(Subnet {
            id: id?,
            site: site?,
            groups: groups.into_iter().collect(),
            cidr: cidr?,
            sensitivity,
        }))
    })
}

fn read_cidr(
    s: &mut Section<'_>,
    around: &Around<'_>,
    seen: &mut Unique<IpNet>,
    warnings: &mut Vec<Mistake>,
) -> Option<IpNet> {
    let Cidr(cidr) = s.text("cidr")?;
    seen.claim(s, "cidr", cidr);
    if around.tunnel.is_some_and(|tunnel| tunnel.nets().iter().any(|own| overlap(own, &cidr))) {
        s.mistake("cidr", format!("{cidr} overlaps the tunnel"));
    } else if !around.devices.cover(&cidr) {
        warnings.push(s.at(
            "cidr",
            format!("{cidr} is not covered by devices.routes: devices will not send it into the tunnel"),
        ));
    }
    Some(cidr)
}
