//! A stand-in between a server and Postgres that lets one statement through at a time, so that a
//! test can stop a transaction between any two of its steps.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rand::RngExt;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;

/// Lets everything pass until it is told how much.
#[derive(Clone)]
pub struct Proxy {
    port: u16,
    gate: Arc<Gate>,
}

struct Gate {
    /// Statements that may still pass.
    permits: Semaphore,
    waiting: AtomicUsize,
    /// The longest that a statement is held up, in milliseconds.
    latency_ms: AtomicU64,
    /// A text to put in place of another of the same length.
    replace: Option<(String, String)>,
}

impl Proxy {
    /// In front of the Postgres that listens on this socket; everything passes at first.
    pub async fn start(socket: PathBuf) -> Self {
        Self::start_with(socket, None).await
    }

    /// The same, but wherever a simple statement says `this`, Postgres is told `that`.
    pub async fn lying(socket: PathBuf, this: String, that: String) -> Self {
        assert_eq!(this.len(), that.len(), "the length of a message must stay");
        Self::start_with(socket, Some((this, that))).await
    }

    async fn start_with(socket: PathBuf, replace: Option<(String, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let gate = Arc::new(Gate {
            permits: Semaphore::new(Semaphore::MAX_PERMITS / 2),
            waiting: AtomicUsize::new(0),
            latency_ms: AtomicU64::new(0),
            replace,
        });
        let proxy = Self { port, gate };
        let accepting = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (socket, gate) = (socket.clone(), accepting.gate.clone());
                tokio::spawn(async move { serve(client, &socket, &gate).await });
            }
        });
        proxy
    }

    pub fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .ssl_mode(sqlx::postgres::PgSslMode::Disable)
            .username("postgres")
            .database(database)
    }

    /// From now on only this many statements pass.
    pub fn allow(&self, statements: usize) {
        self.gate.permits.forget_permits(Semaphore::MAX_PERMITS);
        self.gate.permits.add_permits(statements);
    }

    /// From now on each statement is held up by chance, for this long at most.
    pub fn slow(&self, latency: Duration) {
        self.gate.latency_ms.store(latency.as_millis() as u64, Ordering::SeqCst);
    }

    /// Everything passes again. What was allowed before is taken back, or a second release would be more than there can be.
    pub fn release(&self) {
        self.gate.permits.forget_permits(Semaphore::MAX_PERMITS);
        self.gate.permits.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Whether a statement is being held back.
    pub fn holds(&self) -> bool {
        self.gate.waiting.load(Ordering::SeqCst) > 0
    }
}

async fn serve(client: TcpStream, socket: &PathBuf, gate: &Gate) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let server = UnixStream::connect(socket).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = async { tokio::io::copy(&mut from_server, &mut to_client).await.map(drop) };
    let forth = async {
        // The first message has no type byte.
        let startup = message(&mut from_client, false).await?;
        to_server.write_all(&startup).await?;
        loop {
            let mut message = message(&mut from_client, true).await?;
            if let (b'Q', Some((this, that))) = (message[0], &gate.replace) {
                replace(&mut message, this.as_bytes(), that.as_bytes());
            }
            // Sync ends an extended query, Query is a simple one: one of them a statement.
            if matches!(message[0], b'S' | b'Q') {
                let latency = gate.latency_ms.load(Ordering::SeqCst);
                let pause = rand::rng().random_range(0..=latency);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                gate.waiting.fetch_add(1, Ordering::SeqCst);
                let permit = gate.permits.acquire().await.expect("never closed");
                permit.forget();
                gate.waiting.fetch_sub(1, Ordering::SeqCst);
            }
            to_server.write_all(&message).await?;
        }
    };
    tokio::select! {
        done = back => done,
        done = forth => done,
    }
}

/// Bytes, not text: the head of a message is binary.
fn replace(message: &mut [u8], this: &[u8], that: &[u8]) {
    for start in 0..message.len().saturating_sub(this.len() - 1) {
        if message[start..].starts_with(this) {
            message[start..start + that.len()].copy_from_slice(that);
        }
    }
}

/// One message of the frontend protocol, whole: type, length (which counts itself), content.
async fn message(from: &mut (impl AsyncReadExt + Unpin), typed: bool) -> std::io::Result<Vec<u8>> {
    let head = if typed { 5 } else { 4 };
    let mut bytes = vec![0; head];
    from.read_exact(&mut bytes).await?;
    let length = u32::from_be_bytes([bytes[head - 4], bytes[head - 3], bytes[head - 2], bytes[head - 1]]) as usize;
    bytes.resize(head + length - 4, 0);
    from.read_exact(&mut bytes[head..]).await?;
    Ok(bytes)
}
