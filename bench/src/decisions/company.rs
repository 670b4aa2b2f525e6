//! A company of any size for `decisions`: its policies as an operator writes them, and what its people ask.
//! Everything follows from numbers, so that every run measures the same.
//! Always true: a set of `count` policies has exactly that many, and most questions concern a few of them.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use chrono_tz::Europe;
use policy::{
    PolicyFile, Zone,
    facts::{
        Action, App, Device, Fact, HttpFacts, Platform, Posture, Proto, Request, Resource, Source, User,
    },
};
use protocol::time::Timestamp;

/// Monday 2026-11-23T11:00:00Z, at noon in Berlin.
const NOON: i64 = 1_795_431_600_000;
const HOUR: i64 = 3_600_000;
/// So many policies an operator keeps in one file.
const PER_FILE: usize = 100;
/// Policies about one team; one of every form.
const PER_TEAM: usize = 8;

/// What the policies call `context.zone.berlin`.
pub fn zones() -> Vec<Zone> {
    vec![Zone { name: "berlin".into(), tz: Europe::Berlin }]
}

/// When everything is asked.
pub fn now() -> Timestamp {
    Timestamp::from_millis(NOON)
}

/// `count` policies: guards, a tier, and what each team may.
pub fn policies(count: usize) -> Vec<PolicyFile> {
    let guards = if count < 100 { GUARDS.get(..3).unwrap_or(&GUARDS) } else { &GUARDS };
    let common = guards.iter().chain([&TIER]).map(|text| (*text).to_owned());
    let teams = (0..).map(team_policy);
    let all: Vec<String> = common.chain(teams).take(count).collect();
    let file =
        |(n, texts): (usize, &[String])| PolicyFile { name: format!("{n}.cedar"), text: texts.concat() };
    all.chunks(PER_FILE).enumerate().map(file).collect()
}

/// How many teams `count` policies are about.
pub fn teams(count: usize) -> usize {
    (count / PER_TEAM).max(2) - 1
}

const TIER: &str = r#"
@id("tier-high") permit (principal, action == Doorward::Action::"trust", resource == Doorward::Tier::"high")
when { principal has managed && principal.managed.value && principal.managed.source == Doorward::Source::"mdm" &&
       context.now.durationSince(principal.managed.at) < duration("48h") };
"#;

/// Guards are asked at every decision.
const GUARDS: [&str; 12] = [
    r#"@id("guard-disk") @reason("Disk encryption is off") forbid (principal, action in Doorward::Action::"access", resource)
when { resource.sensitivity >= 2 }
unless { context has device && context.device has disk_encrypted && context.device.disk_encrypted.value &&
         context.now.durationSince(context.device.disk_encrypted.at) < duration("24h") };
"#,
    r#"@id("guard-owner") forbid (principal, action in Doorward::Action::"access", resource)
unless { context has device && context.device.owner == principal };
"#,
    r#"@id("guard-source") forbid (principal, action in Doorward::Action::"access", resource)
unless { context.source.isInRange(ip("100.64.0.0/10")) || context.source.isInRange(ip("fd00::/8")) };
"#,
    r#"@id("guard-managed") forbid (principal, action in Doorward::Action::"access", resource in Doorward::AppGroup::"production")
unless { context has device && context.device has managed && context.device.managed.value };
"#,
    r#"@id("guard-os") forbid (principal, action in Doorward::Action::"access", resource) when { resource.sensitivity >= 3 }
unless { context has device && context.device has os_version && context.device.os_version.value >= 14002000 };
"#,
    r#"@id("guard-firewall") forbid (principal, action in Doorward::Action::"access", resource) when { resource.sensitivity >= 2 }
unless { context has device && context.device has firewall && context.device.firewall.value };
"#,
    r#"@id("guard-contract") forbid (principal, action in Doorward::Action::"access", resource)
when { principal has contract_end && context.now >= principal.contract_end };
"#,
    r#"@id("guard-hours") forbid (principal, action in Doorward::Action::"access", resource in Doorward::AppGroup::"finance")
unless { context.zone.berlin.weekday <= 5 && context.zone.berlin.minute >= 420 && context.zone.berlin.minute < 1200 };
"#,
    r#"@id("guard-internal") forbid (principal, action in [Doorward::Action::"http_read", Doorward::Action::"http_write"], resource)
when { context.path like "/internal/*" } unless { principal in Doorward::Group::"corp/admins" };
"#,
    r#"@id("guard-freeze") forbid (principal, action == Doorward::Action::"http_write", resource in Doorward::AppGroup::"production")
when { context.now >= datetime("2026-12-20T00:00:00Z") && context.now < datetime("2027-01-04T00:00:00Z") };
"#,
    r#"@id("guard-key-age") forbid (principal, action in Doorward::Action::"access", resource)
unless { context has device && context.now.durationSince(context.device.key_since) < duration("180d") };
"#,
    r#"@id("guard-legacy") forbid (principal, action == Doorward::Action::"connect", resource)
when { [21, 23, 445].contains(context.port) };
"#,
];

/// Each team has one policy of every form.
const FORMS: [&str; PER_TEAM] = [
    r#"permit (principal in Doorward::Group::"corp/team-T", action in [Doorward::Action::"http_read", Doorward::Action::"http_write"],
resource in Doorward::AppGroup::"apps-T");"#,
    r#"permit (principal in Doorward::Group::"corp/team-T", action == Doorward::Action::"connect", resource in Doorward::AppGroup::"apps-T")
when { context.port == 22 && context has device && context.device in Doorward::Tier::"high" };"#,
    r#"permit (principal in Doorward::Group::"corp/contractors-T", action in Doorward::Action::"access", resource in Doorward::AppGroup::"apps-T")
when { context.zone.berlin.weekday <= 5 && context.zone.berlin.minute >= 480 && context.zone.berlin.minute < 1140 &&
       principal has contract_end && context.now < principal.contract_end };"#,
    r#"permit (principal in Doorward::Group::"corp/department-D", action == Doorward::Action::"http_read",
resource in Doorward::AppGroup::"apps-T") when { resource.sensitivity <= 2 };"#,
    r#"permit (principal == Doorward::User::"corp/T-3", action == Doorward::Action::"connect", resource == Doorward::App::"T-0")
when { context.port == 5432 && context.now < datetime("2026-11-27T12:00:00Z") };"#,
    r#"permit (principal in Doorward::Group::"corp/team-T", action in Doorward::Action::"access", resource == Doorward::App::"T-1")
when { context.source.isInRange(ip("100.64.16.0/20")) || context.source.isInRange(ip("fd00:16::/48")) ||
       (context has device && context.device in Doorward::Tier::"high") };"#,
    r#"permit (principal, action == Doorward::Action::"http_read", resource is Doorward::App in Doorward::AppGroup::"apps-T")
when { resource has owners && principal in resource.owners };"#,
    r#"permit (principal in Doorward::Group::"corp/oncall", action == Doorward::Action::"http_write", resource == Doorward::App::"T-2")
when { context.path like "/admin/*" && context has device && context.device has managed && context.device.managed.value };"#,
];

fn team_policy(n: usize) -> String {
    let (team, form) = (n / PER_TEAM, n % PER_TEAM);
    let text = FORMS.get(form).copied().unwrap_or_default();
    let text = text.replace("department-D", &format!("department-{}", team % 16));
    let text = ["team-T", "contractors-T", "apps-T", "\"T-", "/T-"]
        .iter()
        .fold(text, |text, name| text.replace(name, &name.replace('T', &team.to_string())));
    format!("@id(\"p{n}\") @title(\"Form {form} of team {team}\") {text}\n")
}

/// Somebody who asks for something.
pub struct Asker {
    user: User,
    device: Device,
    app: App,
    paths: Vec<String>,
    what: usize,
}

impl Asker {
    /// The `n`th in a company of so many teams: three quarters ask for their own team's apps, some on a device
    /// that is not in order.
    pub fn new(n: usize, teams: usize) -> Result<Self> {
        // Odd multipliers spread consecutive numbers over teams and habits.
        let mixed = n.wrapping_mul(2_654_435_761);
        let (team, habit) = (mixed / 64 % teams, mixed % 64);
        let own = habit % 4 != 3;
        let home = if own { team } else { team + 1 };
        let app = app(team, habit / 4 % 4)?;
        let paths = vec![["/", "/admin/users", "/api/v1/items"][habit % 3].to_owned()];
        let user = user(home, habit % 8)?;
        let device = device(&user, habit % 5 != 2)?;
        Ok(Self { user, device, app, paths, what: habit / 3 })
    }

    /// The question.
    pub fn request(&self) -> Request<'_> {
        let http = HttpFacts { method: "GET", host: "app.corp.example", paths: &self.paths };
        let action = match self.what % 4 {
            0 => Action::Connect { port: 22, proto: Proto::Tcp },
            1 => Action::HttpWrite(http),
            _ => Action::HttpRead(http),
        };
        Request {
            user: &self.user,
            device: Some(&self.device),
            session: None,
            resource: Resource::App(&self.app),
            action,
            source: IpAddr::V4(Ipv4Addr::new(100, 64, 16, 9)),
        }
    }
}

/// Every second person is a contractor, every eighth is on call.
fn user(team: usize, n: usize) -> Result<User> {
    let contractor = n % 2 == 1;
    let kind = if contractor { "contractors" } else { "team" };
    let mut groups = vec![
        "corp/everyone".to_owned(),
        format!("corp/{kind}-{team}"),
        format!("corp/department-{}", team % 16),
        format!("corp/project-{}", team % 40),
    ];
    if n == 6 {
        groups.push("corp/oncall".to_owned());
    }
    Ok(User {
        id: format!("corp/{team}-{n}").parse()?,
        groups: groups.iter().map(|group| group.parse()).collect::<Result<_, _>>()?,
        email: Some(format!("u{n}@corp.example")),
        contract_end: contractor.then(|| Timestamp::from_millis(NOON + 2000 * HOUR)),
    })
}

fn device(owner: &User, healthy: bool) -> Result<Device> {
    let at = Timestamp::from_millis(NOON - 3 * HOUR);
    let yes = Some(Fact { value: true, source: Source::Mdm, at });
    let disk = Some(Fact { value: healthy, source: Source::Mdm, at });
    Ok(Device {
        id: "laptop".parse()?,
        owner: owner.id.clone(),
        key_since: Timestamp::from_millis(NOON - 1000 * HOUR),
        groups: ["laptops".parse()?].into(),
        platform: Some(Platform::Linux),
        posture: Posture {
            os_version: Some(Fact { value: 14_003_000, source: Source::Mdm, at }),
            managed: yes,
            disk_encrypted: disk,
            firewall: yes,
            screen_lock: yes,
            secure_boot: yes,
            edr_healthy: yes,
        },
    })
}

fn app(team: usize, n: usize) -> Result<App> {
    let stage = if n == 0 { "production" } else { "staging" };
    let groups = [format!("apps-{team}"), stage.to_owned(), "all".to_owned()];
    let sensitivity = [2, 1, 1, 3][n % 4];
    Ok(App {
        id: format!("{team}-{n}").parse()?,
        site: "fra".parse()?,
        groups: groups.iter().map(|group| group.parse()).collect::<Result<_, _>>()?,
        sensitivity,
        owners: Some(format!("corp/team-{team}").parse()?),
        tags: [("env".to_owned(), [stage.to_owned()].into())].into(),
    })
}
