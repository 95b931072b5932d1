//! The smallest balancer: passes connections on to ready servers in turn, and asks each server's
//! `/readyz` ten times a second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

pub struct Balancer {
    pub address: SocketAddr,
    backends: Arc<Vec<Backend>>,
}

struct Backend {
    address: SocketAddr,
    ready: AtomicBool,
    /// Whether the operator wants it used.
    wanted: AtomicBool,
    connections: AtomicUsize,
}

impl Backend {
    async fn watch(&self) {
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(5)).build();
        let client = client.expect("a client");
        loop {
            let answer = client.get(format!("http://{}/readyz", self.address)).send().await;
            self.ready.store(answer.is_ok_and(|answer| answer.status().is_success()), Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Balancer {
    pub async fn start(servers: &[SocketAddr]) -> Self {
        let backend = |address: &SocketAddr| Backend {
            address: *address,
            ready: AtomicBool::new(false),
            wanted: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
        };
        let backends = Arc::new(servers.iter().map(backend).collect::<Vec<_>>());
        for index in 0..servers.len() {
            let backends = backends.clone();
            tokio::spawn(async move { backends[index].watch().await });
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let balancer = Self { address: listener.local_addr().expect("an address"), backends: backends.clone() };
        tokio::spawn(async move {
            for turn in 0.. {
                let (client, _) = listener.accept().await.expect("a connection");
                let backends = backends.clone();
                tokio::spawn(async move { pass(client, &backends, turn).await });
            }
        });
        balancer
    }

    pub async fn until_ready(&self, index: usize) {
        while !self.backends[index].ready.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes a server out by hand and waits until nobody uses it: for one that does not say that it stops.
    pub async fn take_out(&self, index: usize) {
        let backend = &self.backends[index];
        backend.wanted.store(false, Ordering::SeqCst);
        while backend.connections.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn put_back(&self, index: usize) {
        self.backends[index].wanted.store(true, Ordering::SeqCst);
    }
}

/// A connection to a server that does not take it is tried at the next.
async fn pass(mut client: TcpStream, backends: &[Backend], turn: usize) {
    for step in 0..backends.len() {
        let backend = &backends[(turn + step) % backends.len()];
        if !backend.ready.load(Ordering::SeqCst) {
            continue;
        }
        backend.connections.fetch_add(1, Ordering::SeqCst);
        let mut passed = false;
        // Counted before it is asked whether it is wanted: `take_out` must not miss it.
        if backend.wanted.load(Ordering::SeqCst)
            && let Ok(mut server) = TcpStream::connect(backend.address).await
        {
            tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
            passed = true;
        }
        backend.connections.fetch_sub(1, Ordering::SeqCst);
        if passed {
            return;
        }
    }
}
