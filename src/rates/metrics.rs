//! What is counted of refusals, in the names of Prometheus.

use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGauge, Opts};
use strum::VariantArray;

use crate::rates::rule::{By, Resource};

pub struct Metrics {
    limited: IntCounterVec,
    instances: IntGauge,
}

impl Metrics {
    pub fn new() -> anyhow::Result<Self> {
        let limited =
            Opts::new("cairn_limited_requests_total", "Requests refused because of a limit, by whose it was.");
        let limited = IntCounterVec::new(limited, &["limit", "by"])?;
        for resource in Resource::VARIANTS {
            for by in By::VARIANTS {
                limited.with_label_values(&[resource.name(), by.name()]);
            }
        }
        let instances =
            IntGauge::new("cairn_limits_instances", "Instances that share the limits, as far as this one knows.")?;
        Ok(Self { limited, instances })
    }

    pub fn refused(&self, resource: Resource, by: By) {
        self.limited.with_label_values(&[resource.name(), by.name()]).inc();
    }

    pub fn instances(&self, count: usize) {
        self.instances.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.limited.clone()), Box::new(self.instances.clone())]
    }
}
