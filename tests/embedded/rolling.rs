//! Several servers over one Postgres, replaced one after the other behind a balancer: no caller
//! notices. `make rolling` does it between the previous release and this one.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::balancer::Balancer;
use crate::site::{Running, Server, Site, signal};

const CALLERS: usize = 12;

/// How long a caller pauses after each answer: together about 300 requests a second at most.
const PAUSE: Duration = Duration::from_millis(30);

/// Ports that were free a moment ago.
fn addresses<const N: usize>() -> [SocketAddr; N] {
    let taken = std::array::from_fn::<_, N, _>(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    taken.map(|listener| listener.local_addr().expect("an address"))
}

/// What one caller asked for and what came of it.
#[derive(Default)]
struct Outcome {
    answers: usize,
    acknowledged: Vec<String>,
    errors: Vec<String>,
}

/// Remembers and recalls in turn until it is over, and never tries anything twice.
async fn call(caller: usize, url: String, key: String, keep_alive: bool, over: Arc<AtomicBool>) -> Outcome {
    let mut builder = reqwest::Client::builder().timeout(Duration::from_secs(30));
    if !keep_alive {
        builder = builder.pool_max_idle_per_host(0);
    }
    let client = builder.build().expect("a client");
    let mut outcome = Outcome::default();
    for turn in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let content = format!("Stone {turn} of caller {caller} lies in the garden.");
        let (verb, body, wanted) = match turn % 2 {
            0 => ("remember", json!({"content": content}), 201),
            _ => ("recall", json!({"query": "Where is the stone?", "k": 3}), 200),
        };
        let request = client.post(format!("{url}/v1/agents/caller-{caller}/{verb}")).bearer_auth(&key).json(&body);
        match request.send().await {
            Ok(answer) if answer.status().as_u16() == wanted => {
                outcome.answers += 1;
                if wanted == 201 {
                    outcome.acknowledged.push(content);
                }
            }
            Ok(answer) => outcome.errors.push(format!("{verb}: {}", answer.text().await.unwrap_or_default())),
            Err(error) => outcome.errors.push(format!("{verb}: {error:?}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
    outcome
}

/// Callers at work on a runtime of their own.
struct Load {
    runtime: Runtime,
    balancer: Balancer,
    over: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Outcome>>,
    started: Instant,
}

impl Load {
    fn start(servers: &[SocketAddr], key: &str, keep_alive: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let balancer = runtime.block_on(async {
            let balancer = Balancer::start(servers).await;
            for index in 0..servers.len() {
                balancer.until_ready(index).await;
            }
            balancer
        });
        let over = Arc::new(AtomicBool::new(false));
        let url = format!("http://{}", balancer.address);
        let call = |caller| runtime.spawn(call(caller, url.clone(), key.to_owned(), keep_alive, over.clone()));
        let callers = (0..CALLERS).map(call).collect();
        Self { runtime, balancer, over, callers, started: Instant::now() }
    }

    fn until_ready(&self, index: usize) {
        self.runtime.block_on(self.balancer.until_ready(index));
    }

    fn take_out(&self, index: usize) {
        self.runtime.block_on(self.balancer.take_out(index));
    }

    fn put_back(&self, index: usize) {
        self.until_ready(index);
        self.balancer.put_back(index);
    }

    fn go_on(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// No error anywhere, and all that was acknowledged can be read at this server.
    fn end(self, server: &Server<'_>, key: &str) {
        self.over.store(true, Ordering::Relaxed);
        let mut answers = 0;
        for (caller, outcome) in self.callers.into_iter().enumerate() {
            let outcome = self.runtime.block_on(outcome).expect("the caller");
            assert_eq!(outcome.errors, [""; 0], "caller {caller}");
            answers += outcome.answers;
            for content in outcome.acknowledged {
                let path = format!("/v1/agents/caller-{caller}/remember");
                assert_eq!(server.post(key, &path, json!({"content": content})).0, 200, "lost: {content}");
            }
        }
        println!("{answers} answers, no error, {:.0} a second", answers as f64 / self.started.elapsed().as_secs_f64());
        assert!(answers > 10 * CALLERS, "there was load: {answers}");
    }
}

/// Servers that share a Postgres share its hundred connections; and a busy machine is no restart.
fn join(site: &mut Site, url: &str) {
    site.set_database(url);
    for pool in ["GATE", "SEARCH", "WRITE"] {
        site.set(&format!("CAIRN_DATABASE__{pool}_CONNECTIONS"), "5");
    }
    site.set("CAIRN_DATABASE__ACQUIRE_TIMEOUT_MS", "15000");
}

/// Starts a server there.
fn spawn(site: &Site, address: SocketAddr, settings: &[(&str, &str)]) -> Running {
    let bind = address.to_string();
    site.spawn_with(&["serve"], &[settings, &[("CAIRN_HTTP__BIND", &bind)]].concat())
}

#[test]
fn a_rolling_restart_is_invisible() {
    let home = Site::new();
    let postgres = home.serve();
    let mut site = Site::new();
    join(&mut site, &home.new_database("fleet"));
    site.done(&["migrate"]);
    site.done(&["tenant", "create", "acme"]);
    let key = site.done(&["key", "create", "--tenant", "acme"]).trim().to_owned();
    let gentle = [("CAIRN_HTTP__STOP_DELAY_SECS", "2"), ("CAIRN_HTTP__DRAIN_SECS", "20")];
    let addresses = addresses::<3>();
    let mut servers = addresses.map(|address| site.serving(spawn(&site, address, &gentle)));
    let load = Load::start(&addresses, &key, true);
    load.go_on(Duration::from_secs(1));
    for (index, address) in addresses.into_iter().enumerate() {
        let asked = Instant::now();
        signal(servers[index].id(), Signal::SIGTERM);
        servers[index].ends(0);
        assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
        servers[index] = site.serving(spawn(&site, address, &gentle));
        load.until_ready(index);
        load.go_on(Duration::from_millis(500));
    }
    load.end(&servers[0], &key);
    drop(servers);
    postgres.stop();
}

#[test]
#[ignore = "needs the previous release; `make rolling`"]
fn the_previous_release_and_this_one_serve_side_by_side() {
    let previous = std::env::var_os("CAIRN_PREVIOUS").expect("CAIRN_PREVIOUS is a binary of the previous release");
    let home = Site::new();
    let postgres = home.serve();
    let url = home.new_database("fleet");
    let (mut old, mut new) = (Site::of_program(previous.as_ref()), Site::new());
    join(&mut old, &url);
    join(&mut new, &url);
    old.done(&["migrate"]);
    old.done(&["tenant", "create", "acme"]);
    let key = old.done(&["key", "create", "--tenant", "acme"]).trim().to_owned();
    let addresses = addresses::<3>();
    let mut servers = addresses.map(|address| old.serving(spawn(&old, address, &[])));
    // Connections of one request each: the previous release does not say that it stops.
    let load = Load::start(&addresses, &key, false);
    load.go_on(Duration::from_secs(2));
    new.done(&["migrate"]);
    load.go_on(Duration::from_secs(2));
    // Forward one by one, then one back on the schema that it does not know.
    for (site, index) in [(&new, 0), (&new, 1), (&new, 2), (&old, 1)] {
        load.take_out(index);
        signal(servers[index].id(), Signal::SIGTERM);
        servers[index].ends(0);
        servers[index] = site.serving(spawn(site, addresses[index], &[]));
        load.put_back(index);
        load.go_on(Duration::from_secs(2));
    }
    old.done(&["migrate"]);
    load.end(&servers[1], &key);
    drop(servers);
    postgres.stop();
}
