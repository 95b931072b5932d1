//! Deleting by prefix, for an operator's explicit wish: walks all keys of every node, a few at a time, with a limit on
//! each step instead of on the whole.

use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::{self, RedisResult};
use tokio::time::timeout;

use super::Unavailable;
use super::calls::{Calls, Fault};
use super::commands::unlink;
use super::pool::{Connection, Node};

/// Of walking over some hundred keys, or of deleting those found.
const STEP: Duration = Duration::from_secs(2);
/// So many keys a step looks at, about.
const COUNT: u32 = 500;

pub async fn clear(calls: Arc<Calls>, prefix: String) -> Result<u64, Unavailable> {
    let outcome = walk(&calls, &escape(&prefix)).await;
    calls.metrics.called("clear", if outcome.is_ok() { "answered" } else { "failed" });
    outcome.map_err(|fault| {
        tracing::warn!(cause = fault.cause(), "not all entries in Redis could be deleted");
        match fault {
            Fault::Slow => Unavailable::TooSlow,
            Fault::Redis(_) => Unavailable::Failed,
        }
    })
}

async fn walk(calls: &Calls, pattern: &str) -> Result<u64, Fault> {
    let mut loan = calls.pool.lend().await.map_err(Fault::Redis)?;
    let mut deleted = 0;
    for node in step(loan.masters()).await? {
        let mut cursor = 0;
        loop {
            let (next, keys) = step(scan(&mut loan, &node, cursor, pattern)).await?;
            deleted += step(unlink(&mut loan, &keys)).await?;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    loan.settle();
    Ok(deleted)
}

async fn scan(
    connection: &mut Connection,
    node: &Option<Node>,
    cursor: u64,
    pattern: &str,
) -> RedisResult<(u64, Vec<String>)> {
    let mut command = redis::cmd("SCAN");
    command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(COUNT);
    connection.send_to(node, command).await
}

async fn step<T>(work: impl Future<Output = RedisResult<T>>) -> Result<T, Fault> {
    timeout(STEP, work).await.map_err(|_| Fault::Slow)?.map_err(Fault::Redis)
}

/// A pattern of everything that begins with just this.
fn escape(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for c in prefix.chars() {
        if "*?[]\\^-".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_prefix_is_taken_literally() {
        assert_eq!(super::escape("a*b?[c]\\"), "a\\*b\\?\\[c\\]\\\\*");
    }
}
