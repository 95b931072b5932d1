//! Listening to a channel over a connection of its own. What is published while there is none, or faster than it is
//! taken, is lost and counted: nobody may depend on hearing everything.

use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::aio::{PubSubSink, PubSubStream};
use deadpool_redis::redis::{Client, Msg, RedisResult, Value};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::breaker;
use super::calls::{Calls, Fault};
use super::target::Target;

/// Messages that wait to be taken, at most.
pub const QUEUE: usize = 1_024;
/// Of connecting, and of an answer to the question whether anybody is still there.
const PATIENCE: Duration = Duration::from_secs(2);
/// A connection may be cut without a word; so often somebody asks.
const ASK_EVERY: Duration = Duration::from_secs(5);

pub struct Subscription {
    pub calls: Arc<Calls>,
    pub target: Arc<Target>,
    pub channel: String,
    pub messages: mpsc::Sender<Vec<u8>>,
}

impl Subscription {
    /// Ends when nobody takes the messages any more.
    pub async fn run(self) {
        tokio::select! {
            () = self.messages.closed() => {}
            () = self.listen_for_ever() => {}
        }
    }

    async fn listen_for_ever(&self) {
        let mut refused = false;
        for attempt in 0.. {
            // Probes find out whether Redis is back, and nobody else needs to.
            self.calls.breaker.wait_until_closed().await;
            let Err(fault) = self.listen(self.target.node(attempt), &mut refused).await;
            // Of whatever concerns calls as well, the breaker speaks.
            let says_no = fault.says(&["NOPERM"]);
            if says_no && !refused {
                tracing::warn!(
                    cause = fault.cause(),
                    "Redis lets nobody subscribe; instances do not hear of each other"
                );
            }
            refused |= says_no;
            tokio::time::sleep(breaker::pause()).await;
        }
    }

    async fn listen(&self, node: &Client, refused: &mut bool) -> Result<Never, Fault> {
        let (mut sink, mut stream) = in_time(self.connect(node)).await?;
        *refused = false;
        let mut asking = interval(ASK_EVERY);
        asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Some(message) => self.pass_on(&message),
                    None => return Err(Fault::Slow),
                },
                _ = asking.tick() => in_time(sink.ping::<Value>()).await.map(drop)?,
            }
        }
    }

    async fn connect(&self, node: &Client) -> RedisResult<(PubSubSink, PubSubStream)> {
        let mut connection = node.get_async_pubsub().await?;
        connection.subscribe(&self.channel).await?;
        Ok(connection.split())
    }

    fn pass_on(&self, message: &Msg) {
        let outcome = match self.messages.try_send(message.get_payload_bytes().to_vec()) {
            Ok(()) => "received",
            Err(TrySendError::Full(_)) => "dropped",
            Err(TrySendError::Closed(_)) => return,
        };
        self.calls.metrics.messages(outcome).inc();
    }
}

/// Listening ends in failure alone.
enum Never {}

async fn in_time<T>(work: impl Future<Output = RedisResult<T>>) -> Result<T, Fault> {
    timeout(PATIENCE, work).await.map_err(|_| Fault::Slow)?.map_err(Fault::Redis)
}
