//! What the system says of this process, in the names that Prometheus gives it everywhere.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

/// Reads when it is asked.
pub struct Process {
    cpu: Counter,
    resident: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    started: Gauge,
}

impl Process {
    pub fn new() -> anyhow::Result<Self> {
        let process = Self {
            cpu: Counter::new("process_cpu_seconds_total", "Time of processors that was used.")?,
            resident: Gauge::new("process_resident_memory_bytes", "Memory that is held.")?,
            open_fds: Gauge::new("process_open_fds", "Open files and sockets.")?,
            max_fds: Gauge::new("process_max_fds", "Files and sockets that may be open.")?,
            started: Gauge::new("process_start_time_seconds", "When it began, since 1970.")?,
        };
        // The metrics are among the first things that a server makes.
        process.started.set(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64());
        Ok(process)
    }

    fn all(&self) -> [&dyn Collector; 5] {
        [&self.cpu, &self.resident, &self.open_fds, &self.max_fds, &self.started]
    }

    fn read(&self) {
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
            // Two scrapes at once may read in one order and count in the other.
            self.cpu.inc_by((micros as f64 / 1e6 - self.cpu.get()).max(0.0));
        }
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            self.open_fds.set(open.count() as f64);
        }
        if let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
            self.max_fds.set(most as f64);
        }
    }
}

/// None where the system has no such file.
fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kib| kib * 1024.0)
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_and_memory_is_that_of_a_process() {
        let process = Process::new().expect("gauges");
        process.read();
        let before = process.cpu.get();
        let mut sum = 0_u64;
        while process.cpu.get() <= before {
            sum = (0..1_000_000).fold(sum, |sum, x| sum.wrapping_mul(31).wrapping_add(x));
            process.read();
        }
        assert!(process.resident.get() > 1e6 && process.resident.get() < 1e11, "{} {sum}", process.resident.get());
        assert!(process.open_fds.get() >= 3.0 && process.open_fds.get() <= process.max_fds.get());
    }
}
