//! Facts put into the shape of one Cedar question: principal, action, resource, context, entities.
//! It knows nothing of Cedar's types, so that the engine and the oracle are asked the same thing.
//! Always true: an absent fact is an absent attribute; a question holds every entity it may read.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use protocol::time::Timestamp;

use crate::{
    facts::{
        Action, Administration, Device, Fact, Matter, Operator, Platform, Proto, Request, Resource, Session,
        Source, User,
    },
    zone::Zone,
};

/// The namespace of the schema.
pub(crate) const NAMESPACE: &str = "Doorward";

/// An entity type of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Action,
    User,
    Group,
    Source,
    Platform,
    Tier,
    DeviceGroup,
    Device,
    Site,
    AppGroup,
    App,
    Subnet,
    Proto,
    Operator,
    Admin,
}

impl Kind {
    /// Every kind, each at the place of its discriminant.
    pub(crate) const ALL: [Self; 15] = [
        Self::Action,
        Self::User,
        Self::Group,
        Self::Source,
        Self::Platform,
        Self::Tier,
        Self::DeviceGroup,
        Self::Device,
        Self::Site,
        Self::AppGroup,
        Self::App,
        Self::Subnet,
        Self::Proto,
        Self::Operator,
        Self::Admin,
    ];

    /// Its name in the schema, without the namespace.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Action => "Action",
            Self::User => "User",
            Self::Group => "Group",
            Self::Source => "Source",
            Self::Platform => "Platform",
            Self::Tier => "Tier",
            Self::DeviceGroup => "DeviceGroup",
            Self::Device => "Device",
            Self::Site => "Site",
            Self::AppGroup => "AppGroup",
            Self::App => "App",
            Self::Subnet => "Subnet",
            Self::Proto => "Proto",
            Self::Operator => "Operator",
            Self::Admin => "Admin",
        }
    }
}

/// An action a question can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Connect,
    HttpRead,
    HttpWrite,
    Trust,
    AdminRead,
    AdminWrite,
}

impl Act {
    pub(crate) const ALL: [Self; 6] =
        [Self::Connect, Self::HttpRead, Self::HttpWrite, Self::Trust, Self::AdminRead, Self::AdminWrite];
    /// The set of those in the group `access`.
    pub(crate) const ACCESS: u8 = Self::Connect.bit() | Self::HttpRead.bit() | Self::HttpWrite.bit();
    /// The set of those in the group `admin`.
    pub(crate) const ADMIN: u8 = Self::AdminRead.bit() | Self::AdminWrite.bit();

    pub(crate) fn entity(self) -> Ref<'static> {
        let id = match self {
            Self::Connect => "connect",
            Self::HttpRead => "http_read",
            Self::HttpWrite => "http_write",
            Self::Trust => "trust",
            Self::AdminRead => "admin_read",
            Self::AdminWrite => "admin_write",
        };
        Ref { kind: Kind::Action, id }
    }

    /// What a person calls whoever does it.
    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::Connect | Self::HttpRead | Self::HttpWrite => "user",
            Self::Trust => "device",
            Self::AdminRead | Self::AdminWrite => "operator",
        }
    }

    /// Its place in a set of actions.
    pub(crate) const fn bit(self) -> u8 {
        match self {
            Self::Connect => 1,
            Self::HttpRead => 2,
            Self::HttpWrite => 4,
            Self::Trust => 8,
            Self::AdminRead => 16,
            Self::AdminWrite => 32,
        }
    }
}

/// The name of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ref<'a> {
    pub(crate) kind: Kind,
    pub(crate) id: &'a str,
}

/// The name of an entity that a policy names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Named {
    pub(crate) kind: Kind,
    pub(crate) id: Arc<str>,
}

impl Named {
    pub(crate) fn as_ref(&self) -> Ref<'_> {
        Ref { kind: self.kind, id: &self.id }
    }
}

/// A value of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Datum<'a> {
    Bool(bool),
    Long(i64),
    Text(&'a str),
    Texts(Vec<&'a str>),
    Time(Timestamp),
    /// An address is a network of its own.
    Net(IpNet),
    Entity(Ref<'a>),
    Record(Fields<'a>),
}

pub(crate) type Fields<'a> = Vec<(&'a str, Datum<'a>)>;

/// An entity with what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) entity: Ref<'a>,
    /// Every ancestor, not only the nearest.
    pub(crate) ancestors: Vec<Ref<'a>>,
    pub(crate) attributes: Fields<'a>,
    pub(crate) tags: Fields<'a>,
}

/// One question, complete.
#[derive(Debug, Clone)]
pub(crate) struct Question<'a> {
    pub(crate) act: Act,
    pub(crate) principal: Node<'a>,
    pub(crate) resource: Node<'a>,
    /// Entities that only the context names.
    pub(crate) others: Vec<Node<'a>>,
    pub(crate) context: Fields<'a>,
}

impl<'a> Question<'a> {
    /// May this be done at `now`? `tiers` are those its device has earned; `reading` counts its readings.
    pub(crate) fn of(
        matter: &Matter<'a>,
        reading: usize,
        tiers: &[&'a str],
        zones: &'a [Zone],
        now: Timestamp,
    ) -> Self {
        match matter {
            Matter::Access(request) => Self::access(request, reading, tiers, zones, now),
            Matter::Administration(command) => Self::administration(command, zones, now),
        }
    }

    fn administration(command: &Administration<'a>, zones: &'a [Zone], now: Timestamp) -> Self {
        let mut context = moment(zones, now);
        context.push(("verb", Datum::Text(command.verb)));
        if let Some(object) = command.object {
            context.push(("object", Datum::Text(object)));
        }
        if let Some(owner) = command.owner {
            context.push(("owner", entity(Kind::User, owner.id.as_str())));
        }
        if let Some(site) = command.site {
            context.push(("site", entity(Kind::Site, site.as_str())));
        }
        Self {
            act: if command.write { Act::AdminWrite } else { Act::AdminRead },
            principal: operator(command.operator),
            resource: Node::bare(Ref { kind: Kind::Admin, id: command.on.as_str() }),
            others: command.owner.map(user).into_iter().collect(),
            context,
        }
    }

    /// May this user do this, at `now`, on a device that has earned `tiers`? `reading` counts the readings of the path.
    fn access(
        request: &Request<'a>,
        reading: usize,
        tiers: &[&'a str],
        zones: &'a [Zone],
        now: Timestamp,
    ) -> Self {
        let mut context = moment(zones, now);
        context.push(("source", Datum::Net(request.source.into())));
        if let Some(device) = request.device {
            context.push(("device", entity(Kind::Device, device.id.as_str())));
        }
        if let Some(session) = request.session {
            context.push(("session", signed_in(session)));
        }
        let act = ask(&request.action, reading, &mut context);
        Self {
            act,
            principal: user(request.user),
            resource: resource(&request.resource),
            others: request.device.map(|device| device_node(device, tiers)).into_iter().collect(),
            context,
        }
    }

    /// Does this device earn `tier` at `now`?
    pub(crate) fn trust(device: &'a Device, tier: &'a str, now: Timestamp) -> Self {
        Self {
            act: Act::Trust,
            principal: device_node(device, &[]),
            resource: Node::bare(Ref { kind: Kind::Tier, id: tier }),
            others: Vec::new(),
            context: vec![("now", Datum::Time(now))],
        }
    }
}

impl Question<'_> {
    /// What is known of an entity, if the question holds it.
    pub(crate) fn node(&self, entity: Ref<'_>) -> Option<&Node<'_>> {
        [&self.principal, &self.resource].into_iter().chain(&self.others).find(|node| node.entity == entity)
    }

    /// Whether `entity` is `group` or in it.
    pub(crate) fn is_in(&self, entity: Ref<'_>, group: Ref<'_>) -> bool {
        entity == group || self.node(entity).is_some_and(|node| node.ancestors.contains(&group))
    }

    /// Whether there is an address in it that Cedar's `ip()` does not read: IPv4 written as IPv6.
    pub(crate) fn has_mapped_address(&self) -> bool {
        let mut fields = self.context.iter().chain(&self.resource.attributes);
        fields.any(|(_, datum)| {
            matches!(datum, Datum::Net(net)
                if matches!(net.addr(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()))
        })
    }
}

impl<'a> Node<'a> {
    /// Whether it is `group` or in it.
    pub(crate) fn is_in(&self, group: Ref<'_>) -> bool {
        self.entity == group || self.ancestors.contains(&group)
    }

    pub(crate) fn bare(entity: Ref<'a>) -> Self {
        Self { entity, ancestors: Vec::new(), attributes: Vec::new(), tags: Vec::new() }
    }
}

/// The action, and what it adds to the context.
fn ask<'a>(action: &Action<'a>, reading: usize, context: &mut Fields<'a>) -> Act {
    let (act, http) = match action {
        Action::Connect { port, proto } => {
            context.push(("port", Datum::Long(i64::from(*port))));
            context.push(("proto", entity(Kind::Proto, proto_name(*proto))));
            return Act::Connect;
        }
        Action::HttpRead(http) => (Act::HttpRead, http),
        Action::HttpWrite(http) => (Act::HttpWrite, http),
    };
    context.push(("method", Datum::Text(http.method)));
    context.push(("host", Datum::Text(http.host)));
    // A request without any reading would break the promise of `HttpFacts`; the missing attribute
    // then makes every policy that reads the path an error, which denies.
    if let Some(path) = http.paths.get(reading) {
        context.push(("path", Datum::Text(path)));
    }
    act
}

/// What every context begins with.
fn moment(zones: &[Zone], now: Timestamp) -> Fields<'_> {
    let zone = zones.iter().map(|zone| (zone.name.as_str(), local(zone, now))).collect();
    vec![("now", Datum::Time(now)), ("zone", Datum::Record(zone))]
}

fn local<'a>(zone: &Zone, now: Timestamp) -> Datum<'a> {
    Datum::Record(vec![
        ("weekday", Datum::Long(zone.weekday(now.millis()))),
        ("minute", Datum::Long(zone.minute(now.millis()))),
    ])
}

fn entity(kind: Kind, id: &str) -> Datum<'_> {
    Datum::Entity(Ref { kind, id })
}

fn user(user: &User) -> Node<'_> {
    let mut attributes = Vec::new();
    if let Some(email) = &user.email {
        attributes.push(("email", Datum::Text(email)));
    }
    if let Some(end) = user.contract_end {
        attributes.push(("contract_end", Datum::Time(end)));
    }
    Node {
        entity: Ref { kind: Kind::User, id: user.id.as_str() },
        ancestors: user.groups.iter().map(|group| Ref { kind: Kind::Group, id: group.as_str() }).collect(),
        attributes,
        tags: Vec::new(),
    }
}

fn operator(operator: &Operator) -> Node<'_> {
    let mut node = Node::bare(Ref { kind: Kind::Operator, id: &operator.name });
    node.attributes = vec![
        ("uid", Datum::Long(i64::from(operator.uid))),
        ("groups", Datum::Texts(operator.groups.iter().map(String::as_str).collect())),
        ("root", Datum::Bool(operator.root)),
    ];
    node
}

fn device_node<'a>(device: &'a Device, tiers: &[&'a str]) -> Node<'a> {
    let groups = device.groups.iter().map(|group| Ref { kind: Kind::DeviceGroup, id: group.as_str() });
    let tiers = tiers.iter().map(|tier| Ref { kind: Kind::Tier, id: tier });
    let mut attributes = vec![
        ("owner", entity(Kind::User, device.owner.as_str())),
        ("key_since", Datum::Time(device.key_since)),
    ];
    if let Some(platform) = device.platform {
        attributes.push(("platform", entity(Kind::Platform, platform_name(platform))));
    }
    let posture = &device.posture;
    if let Some(fact) = posture.os_version {
        attributes.push(("os_version", sourced(Datum::Long(fact.value), fact)));
    }
    let yes = [
        ("managed", posture.managed),
        ("disk_encrypted", posture.disk_encrypted),
        ("firewall", posture.firewall),
        ("screen_lock", posture.screen_lock),
        ("secure_boot", posture.secure_boot),
        ("edr_healthy", posture.edr_healthy),
    ];
    for (name, fact) in yes {
        if let Some(fact) = fact {
            attributes.push((name, sourced(Datum::Bool(fact.value), fact)));
        }
    }
    Node {
        entity: Ref { kind: Kind::Device, id: device.id.as_str() },
        ancestors: groups.chain(tiers).collect(),
        attributes,
        tags: Vec::new(),
    }
}

fn signed_in(session: &Session) -> Datum<'_> {
    let mut fields = vec![
        ("at", Datum::Time(session.at)),
        ("expires", Datum::Time(session.expires)),
        ("amr", Datum::Texts(session.amr.iter().map(String::as_str).collect())),
    ];
    if let Some(auth_time) = session.auth_time {
        fields.push(("auth_time", Datum::Time(auth_time)));
    }
    if let Some(acr) = &session.acr {
        fields.push(("acr", Datum::Text(acr)));
    }
    Datum::Record(fields)
}

fn sourced<T>(value: Datum<'_>, fact: Fact<T>) -> Datum<'_> {
    Datum::Record(vec![
        ("value", value),
        ("source", entity(Kind::Source, source_name(fact.source))),
        ("at", Datum::Time(fact.at)),
    ])
}

fn resource<'a>(resource: &Resource<'a>) -> Node<'a> {
    let (entity, site, groups, sensitivity) = match resource {
        Resource::App(app) => {
            (Ref { kind: Kind::App, id: app.id.as_str() }, &app.site, &app.groups, app.sensitivity)
        }
        Resource::Subnet(subnet) => (
            Ref { kind: Kind::Subnet, id: subnet.id.as_str() },
            &subnet.site,
            &subnet.groups,
            subnet.sensitivity,
        ),
    };
    let mut node = Node::bare(entity);
    node.ancestors = groups.iter().map(|group| Ref { kind: Kind::AppGroup, id: group.as_str() }).collect();
    node.ancestors.push(Ref { kind: Kind::Site, id: site.as_str() });
    node.attributes.push(("sensitivity", Datum::Long(i64::from(sensitivity))));
    match resource {
        Resource::App(app) => {
            if let Some(owners) = &app.owners {
                node.attributes
                    .push(("owners", Datum::Entity(Ref { kind: Kind::Group, id: owners.as_str() })));
            }
            node.tags = app
                .tags
                .iter()
                .map(|(tag, values)| {
                    (tag.as_str(), Datum::Texts(values.iter().map(String::as_str).collect()))
                })
                .collect();
        }
        Resource::Subnet(subnet) => node.attributes.push(("cidr", Datum::Net(subnet.cidr))),
    }
    node
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Attested => "attested",
        Source::Mdm => "mdm",
        Source::Agent => "agent",
        Source::Own => "self",
    }
}

fn platform_name(platform: Platform) -> &'static str {
    match platform {
        Platform::Linux => "linux",
        Platform::Macos => "macos",
        Platform::Windows => "windows",
        Platform::Ios => "ios",
        Platform::Android => "android",
        Platform::Other => "other",
    }
}

fn proto_name(proto: Proto) -> &'static str {
    match proto {
        Proto::Tcp => "tcp",
        Proto::Udp => "udp",
        Proto::Icmp => "icmp",
    }
}
