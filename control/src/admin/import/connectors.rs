//! Connectors of an import. Always true: each stands at a site there is, with a key of its own; a list
//! that says nothing of connectors changes none.

use std::collections::HashMap;

use protocol::key::LinkPin;

use super::{Import, once};
use crate::{
    admin::{AdminError, Noun, connector::stands, noun::named},
    object::Connector,
};

impl Import<'_, '_> {
    pub(super) fn connectors(&mut self) -> Result<(), AdminError> {
        let request = self.request;
        let Some(listed) = &request.listed.connectors else { return Ok(()) };
        let names = once(Noun::Connector, listed.iter().map(|connector| &connector.name))?;
        let objects = self.draft.view.objects();
        let mut others: HashMap<LinkPin, String> = HashMap::new();
        for connector in objects.all::<Connector>().filter(|connector| !names.contains(&connector.id)) {
            if request.prune {
                self.goes(&**connector);
            } else {
                others.insert(connector.pin, named(self.context, &**connector));
            }
        }
        for one in listed {
            stands(self.context, &one.site)?;
            if let Some(holder) = others.insert(one.key, format!("connector {}", one.name)) {
                return Err(AdminError::KeyTaken { key: one.key.to_string(), holder });
            }
            let before = objects.get::<Connector>(one.name.as_str());
            let mut after = before.map_or_else(
                || Connector {
                    id: one.name.clone(),
                    site: one.site.clone(),
                    pin: one.key,
                    since: self.draft.now,
                    disabled: None,
                    rest: Default::default(),
                },
                |before| (**before).clone(),
            );
            after.site.clone_from(&one.site);
            after.pin = one.key;
            self.becomes(before, &after);
        }
        Ok(())
    }
}
