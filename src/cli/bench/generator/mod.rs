//! The load generator of comparisons: a closed loop of clients in this process, on a thread of their own.

mod caller;
mod http;
mod slices;
mod writers;

use anyhow::Context;

use crate::cli::bench::report::Row;
use crate::cli::progress::Progress;

pub use caller::{Bodies, Target, Texts};
pub use http::{Address, Call, Connection, Origin};
pub use slices::Measured;
use slices::SLICE;
pub use writers::{NewTexts, Writers, memory};

/// What is measured, and what its row in the table is called.
pub type Case = (&'static str, Target);

/// How to measure.
#[derive(clap::Args)]
pub struct Effort {
    /// How many clients at the same time, one measurement each.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub clients: Vec<u16>,
    /// How long each case is measured with each number of clients, in slices by turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

impl Effort {
    /// All cases in turn, a slice each, again and again, so that what else the machine does hits all of them; the
    /// same with each number of clients. `cases` is told the number of the measurement.
    pub async fn measure(&self, cases: impl Fn(u64) -> anyhow::Result<Vec<Case>>) -> anyhow::Result<Vec<Row>> {
        let turns = (self.seconds * 1_000 / SLICE.as_millis() as u64).max(1);
        let progress = Progress::new(turns * self.clients.len() as u64);
        let mut rows: Vec<Vec<Row>> = Vec::new();
        for (number, &clients) in self.clients.iter().enumerate() {
            let cases = cases(number as u64)?;
            let mut measured: Vec<Measured> = cases.iter().map(|_| Measured::default()).collect();
            for turn in 0..turns {
                for ((name, target), measured) in cases.iter().zip(&mut measured) {
                    let slice = slices::run(target.clone(), usize::from(clients), turn * 1_000).await;
                    measured.add(slice.with_context(|| (*name).to_owned())?);
                }
                progress.at(number as u64 * turns + turn + 1, &format!("{clients} client(s)"));
            }
            let row = |((name, _), measured): (&Case, &Measured)| Row::of(name, usize::from(clients), measured);
            rows.push(cases.iter().zip(&measured).map(row).collect());
        }
        progress.end();
        Ok(by_case(rows))
    }
}

/// From measurement by measurement to case by case.
fn by_case(rows: Vec<Vec<Row>>) -> Vec<Row> {
    let mut measurements: Vec<_> = rows.into_iter().map(Vec::into_iter).collect();
    let mut sorted = Vec::new();
    while let Some(first) = measurements.first_mut().and_then(Iterator::next) {
        sorted.push(first);
        sorted.extend(measurements.iter_mut().skip(1).filter_map(Iterator::next));
    }
    sorted
}
