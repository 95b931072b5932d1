//! The verbs that are clients of a server: import, recall, eval.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::harness::{Client, TestApp};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// Runs the binary against a server, in a folder of its own.
async fn cairn(app: &TestApp, client: &Client, folder: &Path, arguments: &[&str]) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_cairn"))
        .args(arguments)
        .current_dir(folder)
        .env("CAIRN_URL", app.url())
        .env("CAIRN_API_KEY", &client.key)
        .output()
        .await
        .expect("the binary runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_keeps_what_a_line_says_and_can_be_repeated() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("conversation.jsonl");
    std::fs::copy(example("conversation.jsonl"), &file).expect("a copy");
    let import = ["import", "conversation.jsonl", "--agent-field", "conversation", "--timezone", "Europe/Sarajevo"];

    let first = cairn(&app, &tenant, folder.path(), &import).await;
    assert!(first.status.success() && text(&first).contains("created 10"), "{}", text(&first));
    let again = cairn(&app, &tenant, folder.path(), &import).await;
    assert!(again.status.success() && text(&again).contains("created 0"), "{}", text(&again));

    let wall = tenant.get("/v1/agents/garden/memories?key=1:3").await.expect(200)["items"][0].clone();
    let content = wall["content"].as_str().expect("content");
    assert!(content.ends_with("[a low dry stone wall beside a wooden shed]"), "{content}");
    assert_eq!(wall["occurred_at"], "2026-03-02T08:15:00Z", "a time without a zone is of --timezone");
    assert_eq!(wall["source"], serde_json::json!({"type": "conversation", "id": "1", "seq": 3}));
    assert_eq!(wall["speaker"], "Ivo");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_names_the_lines_it_cannot_take_and_takes_the_rest() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let folder = tempfile::tempdir().expect("a folder");
    let lines = [
        "{\"content\":\"one\"}",
        "not json",
        "{\"content\":\"\"}",
        "{\"content\":\"two\",\"importance\":7}",
        "{\"content\":\"three\"}",
    ];
    std::fs::write(folder.path().join("mixed.jsonl"), lines.join("\n")).expect("a file");
    let output = cairn(&app, &tenant, folder.path(), &["import", "mixed.jsonl", "--agent", "ada"]).await;
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(shown.contains("created 2") && shown.contains("rejected 3"), "{shown}");
    for line in ["2", "3", "4"] {
        assert!(shown.contains(&format!("line {line}")), "line {line} in {shown}");
    }
    assert_eq!(tenant.get("/v1/agents/ada/stats").await.expect(200)["memories"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn recall_prints_a_table_and_eval_a_report() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (memories, questions) = (example("conversation.jsonl"), example("questions.jsonl"));
    let (memories, questions) = (memories.to_str().expect("UTF-8"), questions.to_str().expect("UTF-8"));
    let eval = ["eval", "--memories", memories, "--questions", questions, "--mode", "hybrid", "--json", "report.json"];
    let output = cairn(&app, &tenant, folder.path(), &eval).await;
    assert!(output.status.success() && text(&output).contains("overall"), "{}", text(&output));
    let report = std::fs::read_to_string(folder.path().join("report.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert!(report.to_string().contains("ndcg"), "{report}");

    let ablate = ["eval", "--memories", memories, "--questions", questions, "--ablate", "--json", "report.json"];
    let output = cairn(&app, &tenant, folder.path(), &ablate).await;
    assert!(output.status.success() && text(&output).contains("duplicates"), "{}", text(&output));
    let report = std::fs::read_to_string(folder.path().join("report.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["without"].as_object().map(|without| without.len()), Some(10), "nine rules, and bare: {report}");

    let recall = ["recall", "red wheelbarrow", "--agent", "eval-garden", "--k", "2", "--explain"];
    let output = cairn(&app, &tenant, folder.path(), &recall).await;
    assert!(output.status.success() && text(&output).contains("wheelbarrow"), "{}", text(&output));
    let unknown = cairn(&app, &tenant, folder.path(), &["recall", "x", "--agent", "nobody"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown).contains("404"), "{}", text(&unknown));
}
