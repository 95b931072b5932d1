//! A stand-in between a client and any server, which does to their bytes what networks do. A change of mind concerns
//! the connections there are, too.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What happens to connections and to what is sent over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Pass,
    /// Closed as soon as it is opened.
    Refuse,
    /// Accepted, read and never answered.
    BlackHole,
    /// What the client sends arrives late, by a random time up to this.
    Latency(Duration),
    /// What the client sends arrives late, by just this time.
    Delay(Duration),
    /// Reset as soon as it is opened.
    Reset,
    /// The server hears the client, and not the other way round.
    LoseAnswers,
}

/// What listens behind it.
#[derive(Debug, Clone)]
pub enum Target {
    Port(u16),
    Socket(PathBuf),
}

pub struct FaultProxy {
    pub port: u16,
    fault: watch::Sender<Fault>,
    counts: Arc<Counts>,
    accepting: AbortHandle,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    bytes: AtomicU64,
}

impl FaultProxy {
    /// Everything passes at first.
    pub async fn start(target: Target) -> Self {
        Self::start_at(0, target).await
    }

    /// The same, on this port.
    pub async fn start_at(port: u16, target: Target) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (fault, seen) = watch::channel(Fault::Pass);
        let counts = Arc::<Counts>::default();
        let counting = counts.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                counting.connections.fetch_add(1, Ordering::Relaxed);
                let connection = Connection { fault: seen.clone(), counts: counting.clone(), lossy: false.into() };
                let target = target.clone();
                connections.spawn(async move { connection.serve(client, &target).await });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, fault, counts, accepting: accepting.abort_handle() }
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// How often someone came.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// How many bytes arrived, in both directions.
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Both directions to a server.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl Stream for TcpStream {}

impl Stream for UnixStream {}

struct Connection {
    fault: watch::Receiver<Fault>,
    counts: Arc<Counts>,
    /// Bytes of it are lost: what follows would make no sense, so it ends when the fault does.
    lossy: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Towards {
    Server,
    Client,
}

impl Connection {
    async fn serve(&self, mut client: TcpStream, target: &Target) -> io::Result<()> {
        client.set_nodelay(true)?;
        let done = tokio::select! {
            done = self.relay(&mut client, target) => done,
            () = self.cut() => Ok(()),
        };
        if *self.fault.borrow() == Fault::Reset {
            client.set_zero_linger()?;
        }
        done
    }

    async fn relay(&self, client: &mut TcpStream, target: &Target) -> io::Result<()> {
        if *self.fault.borrow() == Fault::BlackHole {
            let (mut from_client, _to_client) = client.split();
            self.lossy.store(true, Ordering::Relaxed);
            return tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await.map(drop);
        }
        let server: Box<dyn Stream> = match target {
            Target::Port(port) => {
                let server = TcpStream::connect(("127.0.0.1", *port)).await?;
                server.set_nodelay(true)?;
                Box::new(server)
            }
            Target::Socket(socket) => Box::new(UnixStream::connect(socket).await?),
        };
        let (from_server, to_server) = split(server);
        let (from_client, to_client) = client.split();
        tokio::select! {
            done = self.pump(from_client, to_server, Towards::Server) => done,
            done = self.pump(from_server, to_client, Towards::Client) => done,
        }
    }

    async fn pump(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        towards: Towards,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let fault = *self.fault.borrow();
            match (fault, towards) {
                (Fault::BlackHole, _) | (Fault::LoseAnswers, Towards::Client) => {
                    self.lossy.store(true, Ordering::Relaxed);
                    continue;
                }
                (Fault::Latency(most), Towards::Server) => tokio::time::sleep(random(most)).await,
                (Fault::Delay(time), Towards::Server) => tokio::time::sleep(time).await,
                _ => {}
            }
            to.write_all(&buffer[..length]).await?;
            self.counts.bytes.fetch_add(length as u64, Ordering::Relaxed);
        }
    }

    /// When the connection has to end, whoever uses it.
    async fn cut(&self) {
        let mut fault = self.fault.clone();
        let ends = |fault: &Fault| match fault {
            Fault::Refuse | Fault::Reset => true,
            Fault::Pass | Fault::Latency(_) | Fault::Delay(_) => self.lossy.load(Ordering::Relaxed),
            Fault::BlackHole | Fault::LoseAnswers => false,
        };
        // A proxy that is dropped cuts everything.
        fault.wait_for(ends).await.ok();
    }
}

fn random(most: Duration) -> Duration {
    most.mul_f64(rand::rng().random_range(0.0..1.0))
}
