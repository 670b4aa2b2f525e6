//! The store in PostgreSQL, for several gateways: one connection that writes, one that reads, one that
//! listens. It shares no connection between two calls at a time. Always true: every call ends within its
//! deadline (a longer one for what moves thousands of objects), and `Uncertain` is said only of a commit
//! that was on its way.

mod act;
mod fault;
mod line;
mod read;
mod schema;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use protocol::config::Secret;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

use self::line::{Address, Lent, Line, pause, unreachable};
pub use self::schema::MIGRATIONS;
use super::{
    Batch, BatchId, Changes, Engine, Fence, Loaded, Meta, Observation, Outcome, Record, Replacement,
    Revision, StoreError,
};

/// How long a call may take, unless somebody wants it otherwise.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// So much longer may take what moves everything there is, or thousands of objects.
const LARGE: u32 = 12;
/// From so many changes on a batch is large.
const MANY: usize = 1000;

/// A store in a database of its own.
#[derive(Debug)]
pub struct Postgres {
    address: Arc<Address>,
    writer: Line,
    reader: Line,
    heard: Arc<Notify>,
    deadline: Duration,
    _listener: JoinSet<()>,
}

impl Postgres {
    /// Opens the store at `url` and brings it to the latest schema; no call takes longer than `deadline`.
    /// TLS is verified against the certificates in the file `root_ca`, unless the URL says
    /// `sslmode=disable` or names a Unix socket.
    pub async fn connect(
        url: Secret<String>,
        root_ca: Option<&Path>,
        deadline: Duration,
    ) -> Result<Self, StoreError> {
        let address = Arc::new(Address::new(&url, root_ca, deadline)?);
        let heard = Arc::new(Notify::new());
        let (writer, reader) = (Line::default(), Line::default());
        let opened = timeout(deadline, async {
            let lent = writer.lend(&address, &heard).await?;
            schema::migrate(lent.client()).await?;
            lent.done();
            Ok(())
        });
        opened.await.unwrap_or_else(|_| Err(late(deadline)))?;
        let mut listener = JoinSet::new();
        listener.spawn(listen(Arc::clone(&address), Arc::clone(&heard)));
        Ok(Self { address, writer, reader, heard, deadline, _listener: listener })
    }

    async fn writer(&self) -> Result<Lent<'_>, StoreError> {
        self.writer.lend(&self.address, &self.heard).await
    }

    async fn reader(&self) -> Result<Lent<'_>, StoreError> {
        self.reader.lend(&self.address, &self.heard).await
    }

    /// `large`: it may move very much.
    async fn in_time<T>(
        &self,
        large: bool,
        act: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let deadline = if large { self.deadline * LARGE } else { self.deadline };
        timeout(deadline, act).await.unwrap_or_else(|_| Err(late(deadline)))
    }
}

fn late(deadline: Duration) -> StoreError {
    unreachable(format!("no answer within {} ms", deadline.as_millis()))
}

/// Hears of commits for ever. Whenever it listens again, it may have missed some.
async fn listen(address: Arc<Address>, heard: Arc<Notify>) {
    let mut failures = 0;
    loop {
        if let Ok(mut session) = address.connect(&heard).await
            && session.client.batch_execute("listen doorward").await.is_ok()
        {
            failures = 0;
            heard.notify_one();
            session.lost().await;
        }
        failures += 1;
        sleep(pause(failures)).await;
    }
}

/// One act on a lent connection, within the deadline.
macro_rules! act {
    ($self:ident.$line:ident, $module:ident :: $act:ident ($($argument:expr),*)) => {
        act!($self.$line, $module::$act($($argument),*), false)
    };
    ($self:ident.$line:ident, $module:ident :: $act:ident ($($argument:expr),*), $large:expr) => {
        $self
            .in_time($large, async {
                let lent = $self.$line().await?;
                let result = $module::$act(lent.client(), $($argument),*).await?;
                lent.done();
                Ok(result)
            })
            .await
    };
}

#[async_trait]
impl Engine for Postgres {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn load(&self) -> Result<Loaded, StoreError> {
        act!(self.reader, read::load(), true)
    }

    async fn changes(&self, store: &str, since: Revision, most: usize) -> Result<Changes, StoreError> {
        act!(self.reader, read::changes(store, since, most), true)
    }

    async fn hint(&self) {
        self.heard.notified().await;
    }

    async fn commit(&self, batch: &Batch) -> Result<Vec<Outcome>, StoreError> {
        let mut sent = false;
        let large = batch.commits.iter().map(|commit| commit.ops.len()).sum::<usize>() > MANY;
        match act!(self.writer, act::commit(batch, &mut sent), large) {
            // No answer, or that the server was told to stop: it may have kept the commit before that.
            Err(StoreError::Unreachable { why }) if sent => {
                Err(StoreError::Uncertain { batch: batch.id.clone(), why })
            }
            result => result,
        }
    }

    async fn outcome(&self, batch: &BatchId) -> Result<Option<Vec<Outcome>>, StoreError> {
        act!(self.writer, act::outcome(batch))
    }

    async fn records(&self, gateway: &str) -> Result<Vec<Record>, StoreError> {
        act!(self.reader, read::records(gateway))
    }

    async fn written(&self, records: &[Arc<str>]) -> Result<(), StoreError> {
        act!(self.writer, act::written(records))
    }

    async fn observe(&self, seen: &[Observation]) -> Result<(), StoreError> {
        act!(self.writer, act::observe(seen))
    }

    async fn observed(&self, kind: &str) -> Result<Vec<Observation>, StoreError> {
        act!(self.reader, read::observed(kind))
    }

    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<Option<Fence>, StoreError> {
        act!(self.writer, act::lease(name, holder, time))
    }

    async fn release(&self, name: &str, holder: &str, fence: Fence) -> Result<(), StoreError> {
        act!(self.writer, act::release(name, holder, fence))
    }

    async fn prune(&self, horizon: Duration) -> Result<(), StoreError> {
        act!(self.writer, act::prune(horizon))
    }

    async fn replace(&self, with: Replacement) -> Result<Meta, StoreError> {
        act!(self.writer, act::replace(&with), true)
    }

    async fn confirm(&self, records: &[Record]) -> Result<Meta, StoreError> {
        act!(self.writer, act::confirm(records))
    }
}
