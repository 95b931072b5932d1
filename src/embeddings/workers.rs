//! The threads that embed. They are not those that serve: however much there is to embed, the server stays
//! responsive. Tenants take turns at them, so that a query of one waits for no batch of another, beyond what is
//! computed already.

use std::sync::{Arc, Mutex};

use anyhow::{Context, anyhow};
use tokio::sync::{mpsc, oneshot};

use crate::embeddings::{Model, Windows};
use crate::ids::TenantId;
use crate::turns::{Full, Haste, Rules, Turns};

struct Job {
    texts: Vec<String>,
    reply: oneshot::Sender<anyhow::Result<Vec<Windows>>>,
}

pub struct Workers {
    queue: mpsc::Sender<Job>,
    turns: Turns,
}

impl Workers {
    /// The threads end when the last handle to the queue is dropped.
    pub fn start(model: Model, threads: usize) -> anyhow::Result<Self> {
        // Whoever has a turn finds a thread that is free, or is about to be.
        let (queue, jobs) = mpsc::channel(threads);
        let model = Arc::new(model);
        let jobs = Arc::new(Mutex::new(jobs));
        for index in 0..threads {
            let (model, jobs) = (model.clone(), jobs.clone());
            std::thread::Builder::new()
                .name(format!("embed-{index}"))
                .spawn(move || work(&model, &jobs))
                .context("starting an embedding thread")?;
        }
        // Callers give up by themselves when their deadline has come.
        let rules = Rules { turns: threads, most_waiting: usize::MAX, ..Rules::default() };
        Ok(Self { queue, turns: Turns::new(rules) })
    }

    pub async fn embed(&self, tenant: TenantId, haste: Haste, texts: Vec<String>) -> anyhow::Result<Vec<Windows>> {
        let turn = self.turns.wait(tenant, haste).await;
        let _turn = turn.map_err(|Full| anyhow!("too many texts wait to be embedded"))?;
        let (reply, answer) = oneshot::channel();
        self.queue.send(Job { texts, reply }).await.map_err(|_| anyhow!("the embedding threads have ended"))?;
        answer.await.map_err(|_| anyhow!("an embedding thread failed"))?
    }
}

fn work(model: &Model, jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // The lock is held while waiting and given up before the work begins.
        let job = match jobs.lock() {
            Ok(mut jobs) => jobs.blocking_recv(),
            Err(_) => return,
        };
        let Some(job) = job else {
            return;
        };
        if job.reply.is_closed() {
            continue;
        }
        // A panic in a model must cost one job, not a thread of the server.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.embed(&job.texts)));
        let result = result.unwrap_or_else(|_| Err(anyhow!("the embedding model panicked")));
        // A caller that stopped waiting is no error.
        let _ = job.reply.send(result);
    }
}
