//! The lines in front of the pools. While all connections are in use, a tenant waits behind its own calls and not
//! behind another's, and pays with the time that it holds them.

use anyhow::anyhow;
use prometheus::core::Collector;
use prometheus::{IntCounterVec, Opts};

use crate::config::Database;
use crate::db::POOLS;
use crate::db::waits::Work;
use crate::error::{Code, Error, Result};
use crate::ids::TenantId;
use crate::turns::{Full, Haste, Rules, Turn, Turns};

#[derive(Clone)]
pub(super) struct Queues {
    /// None: whoever comes first is served first.
    search: Option<Turns>,
    write: Option<Turns>,
    turned_away: IntCounterVec,
}

impl Queues {
    pub fn new(settings: &Database) -> anyhow::Result<Self> {
        let turned_away = "Calls that were not let into the line for a connection: too many of their tenant waited.";
        let turned_away = Opts::new("cairn_database_turned_away_total", turned_away);
        let turned_away = IntCounterVec::new(turned_away, &["pool"])?;
        let turns = |work: Work, connections: u32| {
            turned_away.with_label_values(&[POOLS[work as usize]]);
            settings.fair.then(|| Turns::new(rules(settings, connections)))
        };
        Ok(Self {
            search: turns(Work::Search, settings.search_connections),
            write: turns(Work::Write, settings.write_connections),
            turned_away,
        })
    }

    /// Waits until a tenant may have a connection. The operator's calls are few, and wait behind nobody; work beside
    /// requests has few connections and no hurry.
    pub async fn turn(&self, work: Work, tenant: TenantId) -> Result<Option<Turn>> {
        let turns = match work {
            Work::Search => &self.search,
            Work::Write => &self.write,
            Work::Gate | Work::Background => &None,
        };
        let Some(turns) = turns.as_ref().filter(|_| tenant != TenantId::OPERATOR) else { return Ok(None) };
        let turn = turns.wait(tenant, Haste::Query).await;
        turn.map(Some).map_err(|Full| {
            self.turned_away.with_label_values(&[POOLS[work as usize]]).inc();
            let cause = anyhow!("too many calls of one tenant wait for a connection");
            Error::unavailable(Code::Overloaded, "too many calls of this tenant wait already; try again", cause)
        })
    }

    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.turned_away.clone())
    }
}

fn rules(settings: &Database, connections: u32) -> Rules {
    let weights = settings.tenant_weights.iter().map(|(tenant, weight)| (TenantId::from_uuid(*tenant), *weight));
    Rules { turns: connections as usize, most_waiting: settings.waiting_per_tenant, weights: weights.collect() }
}
