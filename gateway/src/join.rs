//! Lets connectors join by the tokens of the store.
//! It judges no token: `control` does, by what was read last.
//! Always true: who is told that it has joined may link at once; the log names a token by its id alone.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use control::{
    admin::{self, RedeemError},
    audit::{self, Entry},
    object::Token,
    store::{CommitError, Store, StoreError},
};
use protocol::{join::Joined, key::LinkPin, time::Timestamp};

use crate::{
    books::{Books, random_id},
    connectors::{NotJoined, Redeem},
    truth::Reloader,
};

/// Somebody else may write at the same time: so often is it looked at again.
const TRIES: usize = 8;

/// What redeems tokens.
#[derive(Debug, Clone)]
pub struct Redeemer {
    /// Where they are kept.
    pub store: Store,
    /// What was read of it, and puts in force what is written.
    pub reloader: Reloader,
    /// Where it is written down.
    pub books: Books,
}

#[async_trait]
impl Redeem for Redeemer {
    async fn redeem(&self, token: &str, pin: LinkPin) -> Result<Joined, NotJoined> {
        let Some((id, secret)) = admin::parse_token(token) else {
            return Err(no_good("it is not written like a token"));
        };
        for _ in 0..TRIES {
            if let Some(joined) = self.attempt(id, secret, pin).await? {
                return Ok(joined);
            }
        }
        Err(NotJoined::later(BUSY, format!("token {id}: others changed the same again and again")))
    }
}

impl Redeemer {
    /// Looks at the token and uses it up. `None`: what was looked at has changed meanwhile.
    async fn attempt(&self, id: &str, secret: &str, pin: LinkPin) -> Result<Option<Joined>, NotJoined> {
        let (view, now) = (self.reloader.view(), Timestamp::from_system(SystemTime::now()));
        let plan = admin::redeem(&view, id, secret, pin, now);
        let plan = plan.map_err(|error| no_good(format!("token {id}: {}", error.log())))?;
        let unkept = |error: StoreError| NotJoined::later(BUSY, format!("token {id}: {error}"));
        if let Some(mut commit) = plan.commit {
            let entry = joined_by(id, view.objects().get::<Token>(id));
            commit.records = vec![self.books.record(&entry)];
            match self.store.commit(commit).await {
                Ok(revision) => self.books.write_down(&self.store, vec![entry], revision).await,
                Err(CommitError::Refused(_)) => {
                    return self.reloader.catch_up().await.map(|_| None).map_err(unkept);
                }
                Err(CommitError::Store(error)) => return Err(unkept(error)),
            }
        }
        // It is kept. What cannot be read now is read later, and the connector dials until then.
        if let Err(error) = self.reloader.catch_up().await {
            tracing::warn!(token = id, %error, "a connector has joined and cannot link yet");
        }
        let joined =
            |token: &Arc<Token>| Joined { connector: token.connector.clone(), site: token.site.clone() };
        Ok(view.objects().get(id).map(joined))
    }
}

/// Who joins is no account of this machine.
const NOBODY: u32 = u32::MAX;

fn joined_by(id: &str, token: Option<&Arc<Token>>) -> Entry {
    Entry::Admin(Box::new(audit::Admin {
        id: random_id(),
        actor: audit::Operator { uid: NOBODY, name: format!("token {id}") },
        verb: "connector join".to_owned(),
        object: token.map(|token| token.connector.to_string()).unwrap_or_default(),
        user: None,
        sealed: Arc::default(),
        revision: None,
        decision: audit::Verdict::Allow,
        policies: Vec::new(),
        details: serde_json::Value::Null,
    }))
}

/// What an outsider is told when the fault is ours.
const BUSY: &str = "the gateway cannot keep that now: try again";

/// Outsiders are told one thing, whatever is wrong.
fn no_good(why: impl Into<String>) -> NotJoined {
    NotJoined { told: RedeemError::Unknown.to_string(), why: why.into(), fault: true }
}

#[cfg(test)]
mod tests;
