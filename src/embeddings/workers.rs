//! The threads that embed. They are not those that serve: however much there is to embed, the
//! server stays responsive, and a full queue makes callers wait for their deadline.

use std::sync::{Arc, Mutex};

use anyhow::{Context, anyhow};
use tokio::sync::{mpsc, oneshot};

use crate::embeddings::{Model, Windows};

const QUEUED_JOBS: usize = 64;

struct Job {
    texts: Vec<String>,
    reply: oneshot::Sender<anyhow::Result<Vec<Windows>>>,
}

pub struct Workers {
    queue: mpsc::Sender<Job>,
}

impl Workers {
    /// The threads end when the last handle to the queue is dropped.
    pub fn start(model: Model, threads: usize) -> anyhow::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUED_JOBS);
        let model = Arc::new(model);
        let jobs = Arc::new(Mutex::new(jobs));
        for index in 0..threads {
            let (model, jobs) = (model.clone(), jobs.clone());
            std::thread::Builder::new()
                .name(format!("embed-{index}"))
                .spawn(move || work(&model, &jobs))
                .context("starting an embedding thread")?;
        }
        Ok(Self { queue })
    }

    pub async fn embed(&self, texts: Vec<String>) -> anyhow::Result<Vec<Windows>> {
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
