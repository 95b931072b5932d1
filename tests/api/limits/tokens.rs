//! Tokens that are embedded.

use serde_json::{Value, json};

use crate::caches::Pair;
use crate::harness::TestApp;
use crate::limits::{limited, set_quotas};

fn question(text: &str, mode: &str) -> Value {
    json!({"query": text, "mode": mode, "k": 5})
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_over_the_limit_are_refused_and_no_recall_makes_do_without() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    set_quotas(&app, &tenant, json!({"embedding_tokens_per_minute": 30})).await;
    let ask = async |text: &str, mode| tenant.post("/v1/agents/ada/recall", question(text, mode)).await;
    let first = ask(&"kettle ".repeat(12), "hybrid").await;
    first.expect(200);
    assert_eq!(first.header("ratelimit-policy"), "\"tenant-tokens\";q=30;w=60;qu=\"embedding-tokens\"");
    assert_eq!(first.header("ratelimit"), "\"tenant-tokens\";r=9;t=42");
    for mode in ["hybrid", "semantic"] {
        let refused = ask(&"broken ".repeat(12), mode).await;
        let problem = refused.assert_problem(429, "rate_limited");
        let detail = problem["detail"].as_str().expect("a text");
        assert!(detail.starts_with("this tenant may have 30 tokens embedded a minute; try again in "), "{detail}");
        let seconds: u64 = refused.header("retry-after").parse().expect("seconds");
        assert!((20..=24).contains(&seconds), "12 tokens are missing, and two seconds bring one: {seconds}");
    }
    let remember = tenant.post("/v1/agents/ada/remember", json!({"content": "The lamp is new. ".repeat(5)})).await;
    remember.assert_problem(429, "rate_limited");
    ask(&"broken ".repeat(12), "lexical").await.expect(200);
    ask("lamp", "hybrid").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_a_cache_costs_no_tokens() {
    let pair = Pair::start().await;
    let tenant = &pair.tenant;
    tenant.remember("ada", "The kettle is broken.").await;
    set_quotas(&pair.here, tenant, json!({"embedding_tokens_per_minute": 20})).await;
    let asked = question(&"kettle ".repeat(11), "hybrid");
    for _ in 0..10 {
        tenant.post("/v1/agents/ada/recall", asked.clone()).await.expect(200);
        pair.other().post("/v1/agents/ada/recall", asked.clone()).await.expect(200);
    }
    let other = question(&"broken ".repeat(11), "hybrid");
    tenant.post("/v1/agents/ada/recall", other.clone()).await.assert_problem(429, "rate_limited");
    // The other server counts with this one.
    pair.other().post("/v1/agents/ada/recall", other).await.assert_problem(429, "rate_limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_above_the_whole_budget_is_taken_once_and_paid_off() {
    let app = TestApp::start().await;
    let tenant = limited(&app, json!({"embedding_tokens_per_minute": 100})).await;
    let batch = |words: &str| {
        let memories: Vec<_> =
            (0..20).map(|number| json!({"content": format!("{number} {}", words.repeat(10))})).collect();
        json!({ "memories": memories })
    };
    tenant.post("/v1/agents/ada/remember/batch", batch("stone ")).await.expect(200);
    let refused = tenant.post("/v1/agents/ada/remember/batch", batch("lamp ")).await;
    refused.assert_problem(429, "rate_limited");
    let seconds: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!(seconds > 120, "more than two budgets are owed: {seconds}");
    assert_eq!(tenant.get("/v1/agents/ada/stats").await.expect(200)["memories"], 20, "all or none");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_embedding_that_another_may_not_pay_for_embeds_it_itself() {
    let app = TestApp::start_with(|config| config.rates.principal_embedding_tokens_per_minute = 40).await;
    let poor = app.new_tenant().await;
    let rich = app.client(poor.id, "all", None).await;
    poor.remember("ada", &"kettle ".repeat(22)).await;
    for round in 0..10 {
        let asked = question(&format!("{round} lamp stone"), "hybrid");
        let path = "/v1/agents/ada/recall";
        let (first, second) = tokio::join!(poor.post(path, asked.clone()), rich.post(path, asked));
        second.expect(200);
        // Who waits for what the other pays for has it for nothing.
        assert!([200, 429].contains(&first.status), "{}", first.text);
    }
    let alone = poor.post("/v1/agents/ada/recall", question("a new question", "hybrid")).await;
    alone.assert_problem(429, "rate_limited");
}
