//! How far a long verb has come: a bar on a terminal, elsewhere a plain line every few seconds.
//! Everything goes to standard error.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const PLAIN_EVERY: Duration = Duration::from_secs(5);

pub struct Progress {
    bar: ProgressBar,
    total: u64,
    said: Mutex<Instant>,
}

impl Progress {
    /// `total` in whatever unit `at` will be told.
    pub fn new(total: u64) -> Self {
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {percent:>3} %  {msg}  {elapsed}") {
            bar.set_style(style);
        }
        Self { bar, total, said: Mutex::new(Instant::now()) }
    }

    pub fn at(&self, position: u64, message: &str) {
        self.bar.set_position(position);
        self.bar.set_message(message.to_owned());
        if !self.bar.is_hidden() {
            return;
        }
        let Ok(mut said) = self.said.lock() else { return };
        if said.elapsed() >= PLAIN_EVERY {
            *said = Instant::now();
            eprintln!("{} %  {message}", position * 100 / self.total.max(1));
        }
    }

    /// A line of its own, above the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
