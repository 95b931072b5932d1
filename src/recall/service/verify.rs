//! Looking over one's own shoulder: a few hits are computed anew, and must not differ. Nobody waits for it.

use std::sync::Arc;

use bytes::Bytes;
use rand::RngExt;

use crate::app::App;
use crate::cache::{Hit, Stamp};
use crate::recall::service::Question;
use crate::recall::service::search::compute;

/// One in so many hits, as the settings say.
pub fn sometimes(app: &Arc<App>, question: &Arc<Question>, hit: &Hit<Bytes>, stamp: Stamp) {
    let one_in = app.config.cache.verify_one_in;
    if one_in == 0 || rand::rng().random_range(0..one_in) != 0 {
        return;
    }
    let (app, question) = (app.clone(), question.clone());
    let (cached, valid_until) = (hit.value.clone(), hit.valid_until);
    app.db.runtime().clone().spawn(async move {
        let Ok(computed) = compute(app.clone(), question.clone(), true).await else { return };
        let Some(proof) = computed.proof else { return };
        // Judged only if nothing has changed, and nothing has expired, between the hit and now.
        if !computed.degraded && proof.stamp == Some(stamp) && proof.now < valid_until && computed.body != cached {
            app.cache.stats().mismatch();
            tracing::error!(
                tenant = %question.owner.tenant,
                agent = %question.agent,
                "a cached answer differs from what is computed anew: please report this"
            );
        }
    });
}
