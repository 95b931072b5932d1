//! What an import came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::cli::import::delivery::Delivery;

/// More names than this are only counted, so that a strange file takes no memory.
const MAX_NAMES: usize = 20;

#[derive(Debug)]
pub struct Summary {
    pub created: u64,
    pub replaced: u64,
    pub duplicate: u64,
    pub rejected: u64,
    /// Lines that an earlier run had settled.
    pub skipped: u64,
    /// Lines that name circles, which an import leaves out.
    pub was_shared: u64,
    /// Fields that no memory has, and in how many lines they stood.
    ignored: BTreeMap<String, u64>,
    unnamed: u64,
    started: Instant,
    took: Duration,
}

impl Summary {
    pub fn new(skipped: u64) -> Self {
        Self {
            created: 0,
            replaced: 0,
            duplicate: 0,
            rejected: 0,
            skipped,
            was_shared: 0,
            ignored: BTreeMap::new(),
            unnamed: 0,
            started: Instant::now(),
            took: Duration::ZERO,
        }
    }

    /// Memories that the server has acknowledged.
    pub fn accepted(&self) -> u64 {
        self.created + self.replaced + self.duplicate
    }

    pub fn add(&mut self, delivery: &Delivery) {
        self.created += delivery.created;
        self.replaced += delivery.replaced;
        self.duplicate += delivery.duplicate;
    }

    pub fn ignore(&mut self, names: Vec<String>) {
        for name in names {
            if self.ignored.contains_key(&name) || self.ignored.len() < MAX_NAMES {
                *self.ignored.entry(name).or_default() += 1;
            } else {
                self.unnamed += 1;
            }
        }
    }

    pub fn finished(mut self) -> Self {
        self.took = self.started.elapsed();
        self
    }

    fn a_second(&self) -> f64 {
        self.accepted() as f64 / self.took.as_secs_f64().max(1e-3)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, replaced, duplicate, rejected, .. } = self;
        write!(out, "created {created}, replaced {replaced}, duplicate {duplicate}, rejected {rejected}")?;
        write!(out, " in {:.1} s ({:.0} memories/s)", self.took.as_secs_f64(), self.a_second())?;
        if self.skipped > 0 {
            write!(out, "\nskipped {} line(s) that an earlier run had settled", self.skipped)?;
        }
        if self.was_shared > 0 {
            write!(out, "\nleft out the circles that {} line(s) name; share these memories again", self.was_shared)?;
        }
        if !self.ignored.is_empty() {
            let names: Vec<String> = self.ignored.iter().map(|(name, lines)| format!("{name} ({lines})")).collect();
            write!(out, "\nignored unknown fields, with their number of lines: {}", names.join(", "))?;
        }
        if self.unnamed > 0 {
            write!(out, ", and {} of other names", self.unnamed)?;
        }
        Ok(())
    }
}
