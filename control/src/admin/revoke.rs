//! Brings about in the store what was revoked ahead of it. Always true: doing it twice is doing it
//! once, and nothing is given to anybody by it.

use std::sync::Arc;

use protocol::{id::DeviceId, key::WgKey, time::Timestamp};

use super::draft::Draft;
use crate::{
    directory::View,
    object::{Connector, Device, Session, Token, User},
    revoked::Revoked,
    store::Commit,
};

/// What makes the store say the same as `revoked`; `None` if it does.
pub fn revoke_commit(view: &View, revoked: &Revoked, now: Timestamp, actor: &str) -> Option<Commit> {
    let mut draft = Draft::new(view, now, actor);
    match revoked {
        Revoked::User { user } => {
            let mut user = own(draft.get::<User>(user.as_str())?);
            if user.disabled.is_none() {
                user.disabled = Some(draft.disabled(None));
                draft.put(&user);
            }
        }
        Revoked::Membership { user, group } => {
            let mut user = own(draft.get::<User>(user.as_str())?);
            if user.groups.remove(group) {
                draft.put(&user);
            }
        }
        Revoked::Device { device } => {
            let mut device = own(draft.get::<Device>(device.as_str())?);
            if device.disabled.is_none() {
                device.disabled = Some(draft.disabled(None));
                draft.put(&device);
            }
        }
        Revoked::Key { device, key } => revoke_key(&mut draft, device, *key)?,
        Revoked::Connector { connector } => {
            let mut connector = own(draft.get::<Connector>(connector.as_str())?);
            if connector.disabled.is_none() {
                connector.disabled = Some(draft.disabled(None));
                draft.put(&connector);
            }
        }
        Revoked::Session { session, .. } => {
            draft.get::<Session>(session)?;
            draft.delete::<Session>(session);
        }
        Revoked::Token { token } => {
            draft.get::<Token>(token)?;
            draft.delete::<Token>(token);
        }
    }
    draft.commit()
}

/// A device whose last key goes stays, but shut: enabling it asks for a key first.
fn revoke_key(draft: &mut Draft<'_>, device: &DeviceId, key: WgKey) -> Option<()> {
    let mut device = own(draft.get::<Device>(device.as_str())?);
    let at = device.keys.iter().position(|held| held.key == key)?;
    let taken = device.keys.remove(at);
    if device.keys.is_empty() && device.disabled.is_none() {
        device.disabled = Some(draft.disabled(None));
    }
    draft.put(&device);
    draft.bar(&device, [&taken]);
    Some(())
}

fn own<T: Clone>(found: Arc<T>) -> T {
    (*found).clone()
}
