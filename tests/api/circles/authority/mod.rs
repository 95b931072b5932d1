//! Promise P2: whoever is removed gets nothing of the circle from the moment that is acknowledged, cached or not, and
//! changes nothing in it; whoever becomes a reader changes nothing.

mod actors;
mod pressure;
mod site;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::circles::authority::actors::{Agent, CALLERS, Right, ask_on, take_and_give, warm_up};
use crate::circles::authority::site::{CIRCLE, Site};
use crate::support::authority::Verdict;

/// Calls that have to be judged, and how long that may take.
const ENOUGH: usize = 2_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Lets agents ask while their rights come and go.
async fn run(site: &Arc<Site>, rights: &[Right]) -> Verdict {
    let over = Arc::default();
    let mut actors = JoinSet::new();
    let mut agents = Vec::new();
    for (number, right) in rights.iter().copied().enumerate() {
        let name = format!("agent-{number}");
        let standing = site.new_editor(&name).await;
        let client = site.client_of(&name, number.is_multiple_of(2)).await;
        agents.push(Arc::new(Agent { number, right, standing, client, asked: AtomicUsize::default() }));
    }
    for agent in &agents {
        warm_up(site, agent).await;
    }
    for agent in agents {
        actors.spawn(take_and_give(site.clone(), agent.clone(), Arc::clone(&over)));
        for caller in 0..CALLERS {
            let seed = (agent.number * CALLERS + caller) as u64;
            actors.spawn(ask_on(site.clone(), agent.clone(), seed, Arc::clone(&over)));
        }
    }
    let started = Instant::now();
    while site.authority.verdict().judged() < ENOUGH && started.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{:.1} s, {} calls", started.elapsed().as_secs_f64(), site.number());
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = actors.join_next().await {
        ended.expect("nobody panics");
    }
    site.authority.verdict()
}

/// The numbers of the writes that can be found.
async fn traces(site: &Site) -> BTreeSet<usize> {
    let back_end = site.back_end(0);
    let mut traces = BTreeSet::new();
    for list in ["tasks", "memories"] {
        let mut cursor = String::new();
        loop {
            let page = back_end.get(&format!("/v1/circles/{CIRCLE}/{list}?limit=200{cursor}")).await.expect(200);
            let items = page["items"].as_array().expect("items").iter();
            let texts = items.flat_map(|item| [&item["title"], &item["details"], &item["content"]]);
            let words = texts.filter_map(Value::as_str).flat_map(|text| text.split(' '));
            traces.extend(words.filter_map(|word| word.parse::<usize>().ok()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
    }
    traces
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_gets_nothing_and_changes_nothing_from_then_on() {
    let site = Site::start().await;
    let mut rights = vec![Right::ToBeThere; 8];
    rights.extend([Right::ToWrite; 2]);
    let verdict = run(&site, &rights).await;
    println!("{verdict}{:?}", verdict.granted);
    assert!(verdict.is_flawless(), "{verdict}");
    let found = traces(&site).await;
    assert!(found.is_disjoint(&verdict.tried), "refused, and done all the same");
    assert!(verdict.judged() >= ENOUGH, "too few calls to tell: {verdict}");
}
