//! What the servers of one test log, apart from those of others: every thread of the test's runtime writes here.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::runtime::Builder;
use tracing::dispatcher;
use tracing_subscriber::fmt;

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Runs a test on a runtime of its own and hands it what is logged there.
    pub fn of(test: impl AsyncFnOnce(Log)) {
        let log = Self::default();
        let writer = log.clone();
        let lines = fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let lines = tracing::Dispatch::new(lines);
        let of_thread = lines.clone();
        let runtime = Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            // For as long as the thread lives.
            .on_thread_start(move || std::mem::forget(dispatcher::set_default(&of_thread)))
            .build()
            .expect("a runtime");
        let _here = dispatcher::set_default(&lines);
        runtime.block_on(test(log));
    }

    /// The lines with these words.
    pub fn with(&self, words: &str) -> Vec<String> {
        let written = self.0.lock().expect("not poisoned");
        let lines = String::from_utf8_lossy(&written);
        lines.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
