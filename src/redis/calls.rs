//! How a call is made: not at all while the breaker is open, on the runtime that owns the connections, within the
//! deadline whatever happens, and with its outcome told to the breaker.

use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::{ErrorKind, RedisError};
use rand::RngExt;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

use super::breaker::{self, Breaker, Of};
use super::commands::{Command, Get, Kind, Store};
use super::metrics::Metrics;
use super::pool::{self, Pool};
use super::{Limits, Put, Unavailable};

/// How Redis says that it cannot keep something, while it may well say what it has.
const REFUSALS: [&str; 5] = ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "NOPERM"];

pub struct Calls {
    pub pool: Pool,
    pub limits: Limits,
    pub metrics: Metrics,
    /// For everything.
    pub breaker: Breaker,
    /// For what Redis would have to keep.
    pub stores: Breaker,
    runtime: Handle,
    prefix: String,
}

/// Why an exchange came to nothing.
pub enum Fault {
    Slow,
    Redis(RedisError),
}

impl Fault {
    /// For the log: an answer that was not understood may hold what somebody stored.
    pub fn cause(&self) -> String {
        match self {
            Self::Slow => "no answer in time".to_owned(),
            Self::Redis(error) => match error.kind() {
                ErrorKind::Parse | ErrorKind::UnexpectedReturnType => error.category().to_owned(),
                _ => error.to_string(),
            },
        }
    }

    fn is_refusal(&self) -> bool {
        self.says(&REFUSALS)
    }

    /// Whether Redis answered with one of these codes.
    pub fn says(&self, codes: &[&str]) -> bool {
        let Self::Redis(error) = self else { return false };
        let errors = error.clone().into_server_errors();
        errors.is_some_and(|errors| errors.iter().any(|(_, error)| codes.contains(&error.code())))
    }

    fn is_lost_connection(&self) -> bool {
        matches!(self, Self::Redis(error) if error.is_connection_dropped())
    }
}

impl Calls {
    pub fn new(pool: Pool, limits: Limits, runtime: Handle, prefix: &str) -> anyhow::Result<Self> {
        let metrics = Metrics::new(pool.clone())?;
        let (breaker, stores) = (metrics.breaker(Of::Calls), metrics.breaker(Of::Stores));
        Ok(Self { pool, limits, metrics, breaker, stores, runtime, prefix: prefix.to_owned() })
    }

    pub async fn call<C: Command>(self: &Arc<Self>, command: C) -> Result<C::Answer, Unavailable> {
        if self.breaker.is_open() || (C::KIND == Kind::Store && self.stores.is_open()) {
            self.metrics.called(C::NAME, "resting");
            return Err(Unavailable::Resting);
        }
        // A caller's own runtime may be busy with something else, and ends with its thread.
        let task = self.runtime.spawn(self.clone().answer(command));
        match timeout(self.limits.deadline, task).await {
            Ok(answer) => answer.unwrap_or(Err(Unavailable::Failed)),
            Err(_) => Err(Unavailable::TooSlow),
        }
    }

    async fn answer<C: Command>(self: Arc<Self>, command: C) -> Result<C::Answer, Unavailable> {
        let until = Instant::now() + self.limits.deadline;
        let calls = self.clone();
        let mut exchange = Box::pin(async move { calls.exchange(&command, until).await });
        let outcome = timeout_at(until, &mut exchange).await.unwrap_or_else(|_| {
            // A connection that is only slow, or not made yet, serves somebody later.
            tokio::spawn(timeout(self.limits.patience(), exchange));
            Err(Fault::Slow)
        });
        self.settle::<C>(outcome)
    }

    async fn exchange<C: Command>(&self, command: &C, until: Instant) -> Result<C::Answer, Fault> {
        match self.try_once(command, until).await {
            Err((fault, true)) if fault.is_lost_connection() => {
                self.pool.forget_idle();
                self.try_once(command, until).await
            }
            outcome => outcome,
        }
        .map_err(|(fault, _)| fault)
    }

    /// A failure comes with whether the connection had lain idle.
    async fn try_once<C: Command>(&self, command: &C, until: Instant) -> Result<C::Answer, (Fault, bool)> {
        let mut loan = self.pool.lend().await.map_err(|error| (Fault::Redis(error), false))?;
        if Instant::now() >= until {
            loan.settle();
            return Err((Fault::Slow, false));
        }
        let outcome = command.run(&mut loan).await;
        if outcome.as_ref().err().is_none_or(leaves_it_usable) {
            loan.settle();
        }
        outcome.map_err(|error| (Fault::Redis(error), pool::was_used(&loan)))
    }

    fn settle<C: Command>(&self, outcome: Result<C::Answer, Fault>) -> Result<C::Answer, Unavailable> {
        let (name, result) = match outcome {
            Ok(answer) => {
                self.breaker.succeeded();
                if C::KIND == Kind::Store {
                    self.stores.succeeded();
                }
                ("answered", Ok(answer))
            }
            Err(fault) if C::KIND != Kind::Read && fault.is_refusal() => {
                self.breaker.succeeded();
                if C::KIND == Kind::Store {
                    self.stores.failed(&fault.cause());
                }
                ("refused", Err(Unavailable::Failed))
            }
            Err(fault) => {
                if self.breaker.failed(&fault.cause()) {
                    self.pool.forget_idle();
                }
                match fault {
                    Fault::Slow => ("slow", Err(Unavailable::TooSlow)),
                    Fault::Redis(_) => ("failed", Err(Unavailable::Failed)),
                }
            }
        };
        self.metrics.called(C::NAME, name);
        result
    }

    /// Closes each breaker when what it keeps back works again; never ends.
    pub async fn probe(self: Arc<Self>) {
        let reads = self.probe_for(&self.breaker, || Get(vec![self.probe_key()]));
        let stores = self.probe_for(&self.stores, || {
            Store(vec![Put { key: self.probe_key(), value: vec![0], ttl: Duration::from_secs(1), indexes: Vec::new() }])
        });
        tokio::join!(reads, stores);
    }

    async fn probe_for<C: Command>(&self, breaker: &Breaker, command: impl Fn() -> C) {
        loop {
            breaker.wait_until_open().await;
            tokio::time::sleep(breaker::pause()).await;
            if C::KIND == Kind::Store {
                // One kind of probe at a time.
                self.breaker.wait_until_closed().await;
            }
            breaker.probe_begins();
            let outcome = self.probe_once(&command()).await;
            self.metrics.called("probe", if outcome.is_ok() { "answered" } else { "failed" });
            match outcome {
                Ok(_) => breaker.probe_succeeded(),
                Err(fault) => breaker.probe_failed(fault.cause()),
            }
        }
    }

    /// Making a connection may take its time; an answer may not, or the breaker would not stay closed.
    async fn probe_once<C: Command>(&self, command: &C) -> Result<C::Answer, Fault> {
        let mut loan = self.pool.lend().await.map_err(Fault::Redis)?;
        let outcome = timeout(self.limits.deadline, command.run(&mut loan)).await;
        let answer = outcome.map_err(|_| Fault::Slow)?.map_err(Fault::Redis)?;
        loan.settle();
        Ok(answer)
    }

    /// Another one each time: on a cluster, another node.
    fn probe_key(&self) -> String {
        format!("{}probe:{:08x}", self.prefix, rand::rng().random::<u32>())
    }
}

/// A refusal is an answer. One that depends on whom the connection leads to is a reason to make another.
fn leaves_it_usable(error: &RedisError) -> bool {
    let errors = error.clone().into_server_errors();
    errors.is_some_and(|errors| errors.iter().all(|(_, error)| !["READONLY", "NOAUTH"].contains(&error.code())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_not_understood_stays_out_of_the_log() {
        use deadpool_redis::redis::{Value, from_redis_value};
        let error = from_redis_value::<u64>(Value::BulkString(b"the kettle is broken".to_vec()));
        let fault = Fault::Redis(error.expect_err("no number").into());
        assert!(!fault.cause().contains("kettle"), "{}", fault.cause());
    }
}
