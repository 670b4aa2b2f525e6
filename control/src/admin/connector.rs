//! What can be done about connectors. Always true: a connector stands at a site that doorward.toml
//! knows, and its key is nobody else's.

use std::{sync::Arc, time::Duration};

use protocol::{
    id::{ConnectorId, SiteId},
    key::LinkPin,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    AdminError, Context, Noun, Plan, Scope,
    draft::Draft,
    noun::{self, Shown, exists, list, named, show, unknown},
    token,
};
use crate::{
    directory::View,
    object::{Connector, text},
    revoked::Revoked,
};

/// What is asked about connectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ConnectorRequest {
    /// Which there are.
    List,
    /// One of them.
    Show {
        /// Which.
        connector: ConnectorId,
    },
    /// A new one, whose key is known.
    Add {
        /// Its name.
        connector: ConnectorId,
        /// Where it stands.
        site: SiteId,
        /// Its key.
        #[serde(with = "text")]
        key: LinkPin,
    },
    /// Shut one.
    Disable {
        /// Which.
        connector: ConnectorId,
        /// The reason.
        why: Option<String>,
    },
    /// Open one again.
    Enable {
        /// Which.
        connector: ConnectorId,
    },
    /// Forget one.
    Remove {
        /// Which.
        connector: ConnectorId,
    },
    /// A one-time credential with which one joins by itself.
    Token {
        /// Where it will stand.
        site: SiteId,
        /// The name it gets; `None`: one made of the site's.
        name: Option<ConnectorId>,
        /// For how long it is good, in seconds.
        seconds: u64,
    },
}

impl Shown for Connector {
    const NOUN: Noun = Noun::Connector;
    const COLUMNS: &'static [&'static str] = &["id", "site", "key", "since", "disabled"];

    fn within(&self, scope: Scope) -> Scope {
        scope.of(&self.id).site(Some(&self.site))
    }

    fn shown(&self, _: &View) -> Value {
        json!({
            "id": self.id, "site": self.site, "key": self.pin.to_string(), "since": self.since.to_string(),
            "disabled": noun::disabled(self.disabled.as_ref()),
        })
    }
}

pub(super) fn scope(view: &View, request: &ConnectorRequest) -> Scope {
    let found = |scope: Scope, id: &ConnectorId| match view.objects().get::<Connector>(id.as_str()) {
        Some(connector) => connector.within(scope),
        None => scope.of(id),
    };
    let write = |verb, id: &ConnectorId| found(Scope::write(Noun::Connector, verb), id);
    match request {
        ConnectorRequest::List => Scope::read(Noun::Connector, "list"),
        ConnectorRequest::Show { connector } => found(Scope::read(Noun::Connector, "show"), connector),
        ConnectorRequest::Add { connector, site, .. } => {
            Scope::write(Noun::Connector, "add").of(connector).site(Some(site))
        }
        ConnectorRequest::Disable { connector, .. } => write("disable", connector),
        ConnectorRequest::Enable { connector } => write("enable", connector),
        ConnectorRequest::Remove { connector } => write("remove", connector),
        ConnectorRequest::Token { site, name, .. } => {
            let scope = Scope::write(Noun::Connector, "token").site(Some(site));
            Scope { object: name.as_ref().map(ToString::to_string), ..scope }
        }
    }
}

pub(super) fn plan(
    request: &ConnectorRequest,
    mut draft: Draft<'_>,
    context: &Context<'_>,
) -> Result<Plan, AdminError> {
    match request {
        ConnectorRequest::List => Ok(list::<Connector>(draft.view, context)),
        ConnectorRequest::Show { connector } => {
            let found = draft.view.objects().get::<Connector>(connector.as_str());
            show(draft.view, context, found.map(|found| &**found), connector)
        }
        ConnectorRequest::Add { connector, site, key } => add(draft, context, connector, site, *key),
        ConnectorRequest::Disable { connector: id, why } => {
            let mut connector = known(&mut draft, id)?;
            draft.takes_away(Revoked::Connector { connector: id.clone() });
            connector.disabled.get_or_insert_with(|| draft.disabled(why.as_ref()));
            change(draft, &connector, "disabled")
        }
        ConnectorRequest::Enable { connector } => {
            let connector = Connector { disabled: None, ..known(&mut draft, connector)? };
            change(draft, &connector, "enabled")
        }
        ConnectorRequest::Remove { connector: id } => {
            let connector = known(&mut draft, id)?;
            draft.delete::<Connector>(id.as_str());
            draft.takes_away(Revoked::Connector { connector: id.clone() });
            let data = connector.shown(draft.view);
            Ok(draft.done(data, format!("connector {id} removed")))
        }
        ConnectorRequest::Token { site, name, seconds } => {
            token::make(draft, context, site, name.as_ref(), Duration::from_secs(*seconds))
        }
    }
}

/// That a connector may stand at a site.
pub(super) fn stands(context: &Context<'_>, site: &SiteId) -> Result<(), AdminError> {
    if site.is_local() {
        return Err(AdminError::Local);
    }
    if context.sites.contains(site) { Ok(()) } else { Err(AdminError::NoSite(site.clone())) }
}

fn known(draft: &mut Draft<'_>, id: &ConnectorId) -> Result<Connector, AdminError> {
    let found: Option<Arc<Connector>> = draft.get(id.as_str());
    found.map(|connector| (*connector).clone()).ok_or_else(|| unknown(Noun::Connector, id))
}

fn add(
    mut draft: Draft<'_>,
    context: &Context<'_>,
    id: &ConnectorId,
    site: &SiteId,
    pin: LinkPin,
) -> Result<Plan, AdminError> {
    stands(context, site)?;
    if draft.get::<Connector>(id.as_str()).is_some() {
        return Err(exists(Noun::Connector, id));
    }
    if let Some(holder) = draft.view.objects().all::<Connector>().find(|other| other.pin == pin) {
        return Err(AdminError::KeyTaken { key: pin.to_string(), holder: named(context, &**holder) });
    }
    let (id, site) = (id.clone(), site.clone());
    let connector = Connector { id, site, pin, since: draft.now, disabled: None, rest: Default::default() };
    change(draft, &connector, "added")
}

fn change(mut draft: Draft<'_>, connector: &Connector, said: &str) -> Result<Plan, AdminError> {
    let before = draft.get::<Connector>(connector.id.as_str());
    if before.is_none_or(|before| *before != *connector) {
        draft.put(connector);
    }
    let data = connector.shown(draft.view);
    Ok(draft.done(data, format!("connector {} {said}", connector.id)))
}
