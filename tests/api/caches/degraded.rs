//! Answers that had to do without the embedding provider: better than none, and for that moment only.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use super::{Pair, ask, kettle, source};
use crate::harness::provider::{Act, Provider};
use crate::harness::{Answer, Client};

/// The provider's own breaker lets a call through within two seconds, when somebody makes one.
const FOUND_AGAIN_WITHIN: Duration = Duration::from_secs(10);

fn is_degraded(answer: &Answer) -> bool {
    answer.json()["warnings"][0]["code"] == "embedding_unavailable"
}

async fn start(provider: &Provider) -> Pair {
    let pair = Pair::start_with(|config| {
        provider.configure(config, 64);
        config.embeddings.query_deadline_ms = 500;
    })
    .await;
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    pair
}

/// Asks something else until the provider is asked again.
async fn wait_for_provider(client: &Client) {
    let began = Instant::now();
    for n in 0.. {
        if !is_degraded(&ask(client, "ada", json!({"query": format!("is it back {n}")})).await) {
            return;
        }
        assert!(began.elapsed() < FOUND_AGAIN_WITHIN, "the provider is up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_by_words_alone_is_given_and_never_kept() {
    let provider = Provider::start().await;
    let pair = start(&provider).await;
    let clients = [pair.tenant.client.clone(), pair.other()];
    provider.on("", &[Act::status(500)]);
    for client in &clients {
        for _ in 0..10 {
            let answer = ask(client, "ada", kettle()).await;
            assert!(is_degraded(&answer) && source(&answer) == "miss", "{} {}", source(&answer), answer.text);
        }
        // Many at once wait for one, which has no more to say.
        let many = join_all((0..10).map(|_| ask(client, "ada", kettle()))).await;
        assert!(many.iter().all(|answer| is_degraded(answer) && source(answer) == "miss"));
    }
    assert_eq!(pair.keys("rag:").await, [""; 0], "nothing is kept in Redis");

    provider.on("", &[Act::Answer]);
    for client in &clients {
        wait_for_provider(client).await;
    }
    // The first that asks the same on either instance gets a whole answer, and that is kept.
    for client in &clients {
        let first = ask(client, "ada", kettle()).await;
        assert!(!is_degraded(&first), "{} {}", source(&first), first.text);
        let again = ask(client, "ada", kettle()).await;
        assert_eq!((source(&again).as_str(), &again.text), ("hit local", &first.text));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_after_the_provider_is_back_does_not_share_in_what_was_begun_before() {
    let provider = Provider::start().await;
    let pair = start(&provider).await;
    for client in [pair.tenant.client.clone(), pair.other()] {
        // One call in vain does not open the breaker of the provider.
        provider.on("", &[Act::Hang, Act::Answer]);
        let question = json!({"query": format!("where is the kettle of {}", client.url())});
        let calls = provider.calls("kettle of").len();
        let before = join_all((0..5).map(|_| ask(&client, "ada", question.clone())));
        let after = async {
            // The search has begun, and hangs.
            while provider.calls("kettle of").len() == calls {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            join_all((0..5).map(|_| ask(&client, "ada", question.clone()))).await
        };
        let (before, after) = tokio::join!(before, after);
        assert!(before.iter().any(is_degraded), "somebody asked while it was away");
        for answer in &after {
            assert!(!is_degraded(answer), "{} {}", source(answer), answer.text);
        }
        let later = ask(&client, "ada", question.clone()).await;
        assert!(!is_degraded(&later) && source(&later) == "hit local", "{} {}", source(&later), later.text);
    }
}
