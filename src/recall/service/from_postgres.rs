//! Recall by Postgres: proof, candidates and contents, all in one snapshot.

use std::collections::HashMap;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::MemoryId;
use crate::recall::candidates::{self, Nearest, Search};
use crate::recall::model::{Mode, Path};
use crate::recall::rank::{Corpus, Pool, lexical_scores};
use crate::recall::service::Engine;
use crate::recall::service::contents::{proof, proven, results};
use crate::recall::service::search::{Found, Hunt};
use crate::telemetry::Stage;

pub(super) async fn find(engine: &Engine, hunt: &Hunt) -> Result<Found> {
    let (question, stages) = (&hunt.question, engine.app.metrics.stages());
    let mut conn = engine.app.db.read(question.owner.tenant).await?;
    let proof = if hunt.to_keep {
        let proof = proof(&mut conn, question).await?;
        Some(proven(question, &hunt.pin, &proof))
    } else {
        None
    };
    let scopes = hunt.scopes();
    let (tenant, filter) = (question.owner.tenant, &question.request.filter);
    let search = Search { tenant, scopes: &scopes, filter, depth: hunt.depth() };
    let (pool, path) = stages.during(Stage::Candidates, gathered(&mut conn, &search, hunt)).await?;
    let best = stages.measure(Stage::Rank, || hunt.best(&pool));
    let results = stages.during(Stage::Pack, results(&mut conn, hunt, best)).await?;
    Ok(Found { results, path, proof })
}

/// What may be an answer, and what is known of the rest.
async fn gathered(conn: &mut TenantConn, search: &Search<'_>, hunt: &Hunt) -> Result<(Pool, Path)> {
    let near = match &hunt.vector {
        Some(vector) => candidates::nearest(conn, search, vector).await?,
        None => Nearest::default(),
    };
    let path = if near.approximate { Path::ApproximateIndex } else { Path::ExactScan };
    let mut found: Vec<MemoryId> = near.memories.into_iter().map(|(id, _)| id).collect();
    let (mut lexical, mut corpus) = (HashMap::new(), Corpus::default());
    if hunt.mode != Mode::Semantic {
        let lexicon = candidates::lexicon(conn, search, &hunt.words.terms).await?;
        let scores = lexical_scores(&lexicon, hunt.words.terms.len(), hunt.neighbours());
        (lexical, corpus) = (scores.into_iter().collect(), lexicon.corpus);
        found.extend(best_by_words(&lexical, search.depth));
    }
    found.sort_unstable();
    found.dedup();
    let candidates = candidates::features(conn, search, found, hunt.vector.as_ref(), &lexical).await?;
    let newest = candidates::newest(conn, search).await?;
    Ok((Pool { candidates, corpus, newest }, path))
}

fn best_by_words(lexical: &HashMap<MemoryId, f64>, depth: usize) -> Vec<MemoryId> {
    let mut order: Vec<(f64, MemoryId)> = lexical.iter().map(|(id, score)| (*score, *id)).collect();
    order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    order.into_iter().take(depth).map(|(_, id)| id).collect()
}
