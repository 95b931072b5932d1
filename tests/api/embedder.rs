//! The local embedding model: equal to the reference, and unmoved by how texts come to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn::bert::Precision;
use cairn::cache::Owner;
use cairn::config::Config;
use cairn::embeddings::{Embedder, LocalModel};
use cairn::ids::TenantId;
use cairn::rates::Budget;
use serde_json::Value;

use crate::harness::runtime_dir;

fn model() -> LocalModel {
    LocalModel::load(&runtime_dir().join("models/all-MiniLM-L6-v2")).expect("the fetched model loads")
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// The least cosine between a vector and the reference's.
fn least_cosine(model: &LocalModel) -> f64 {
    let reference: Value = serde_json::from_str(include_str!("../reference/all-MiniLM-L6-v2.json")).expect("JSON");
    let sentences = reference["sentences"].as_array().expect("sentences");
    let texts: Vec<&str> = sentences.iter().map(|one| one["text"].as_str().expect("text")).collect();
    let vectors = model.embed(&texts).expect("embeds");
    assert_eq!(vectors.len(), 20);
    let cosines = sentences.iter().zip(&vectors).map(|(sentence, windows)| {
        let expected: Vec<f32> = serde_json::from_value(sentence["vector"].clone()).expect("numbers");
        assert_eq!(windows.len(), 1);
        cosine(&expected, &windows[0])
    });
    cosines.fold(f64::MAX, f64::min)
}

#[test]
fn vectors_equal_those_of_the_reference_implementation() {
    let folder = runtime_dir().join("models/all-MiniLM-L6-v2");
    let model = LocalModel::load_with(&folder, Precision::Full).expect("the fetched model loads");
    let least = least_cosine(&model);
    assert!(least > 0.999_99, "{least}");
}

#[test]
fn eight_bits_leave_vectors_where_they_were() {
    let folder = runtime_dir().join("models/all-MiniLM-L6-v2");
    let precision = Precision::of_this_processor();
    let least = least_cosine(&LocalModel::load_with(&folder, precision).expect("the fetched model loads"));
    assert!(least > 0.999, "{least} in {precision:?}");
}

#[test]
fn a_vector_does_not_depend_on_its_company() {
    let model = model();
    let texts = ["kettle", "The kettle in the kitchen is broken and nobody knows who did it.", "Ärger", "🫖"];
    let together = model.embed(&texts).expect("embeds");
    for (text, windows) in texts.iter().zip(&together) {
        let alone = model.embed(&[text]).expect("embeds");
        assert!(cosine(&alone[0][0], &windows[0]) > 0.999_99, "{text}");
    }
}

#[test]
fn a_long_text_is_embedded_to_its_end() {
    let model = model();
    let filler = "We talked about the weather and about nothing in particular. ".repeat(150);
    let text = format!("{filler} The password of the lighthouse is heron.");
    let windows = model.embed(&[&text]).expect("embeds").remove(0);
    assert!(windows.len() > 5, "{} windows", windows.len());
    let question = model.embed(&["What is the lighthouse's password?"]).expect("embeds").remove(0).remove(0);
    let best = windows.iter().map(|window| cosine(window, &question)).fold(f64::MIN, f64::max);
    assert!(cosine(&windows[0], &question) < 0.3 && best > 0.3, "the last window holds the answer: {best}");
}

#[test]
fn an_empty_text_has_a_vector_too() {
    assert_eq!(model().embed(&[""]).expect("embeds")[0].len(), 1);
}

#[test]
fn a_folder_that_is_no_model_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let Err(error) = LocalModel::load(folder.path()) else {
        panic!("an empty folder is no model");
    };
    assert!(format!("{error:#}").contains("config.json"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_goes_ahead_of_a_bulk_that_is_being_embedded() {
    let mut config = Config { runtime_dir: runtime_dir(), ..Config::default() };
    config.embeddings.threads = 1;
    let embedder = Arc::new(Embedder::start(&config).expect("the fetched model loads"));
    let owner = Owner { tenant: TenantId::new(), secret: None, budget: Budget::default() };
    let texts: Vec<String> = (0..800).map(|index| format!("stone {index}")).collect();
    let (bulk, of_bulk, began) = (embedder.clone(), owner, Instant::now());
    let bulk = tokio::spawn(async move { bulk.embed_texts(&of_bulk, texts).await.map(|_| began.elapsed()) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut longest = Duration::ZERO;
    for query in ["a heron", "a kettle", "a lighthouse"] {
        let began = Instant::now();
        embedder.embed_query(&owner, query).await.expect("embeds");
        longest = longest.max(began.elapsed());
    }
    assert!(!bulk.is_finished(), "the bulk was too short to wait behind");
    let whole = bulk.await.expect("a task").expect("embeds");
    // A hundred jobs, of which a query may meet one; what else runs on the machine may slow down either.
    assert!(longest < whole / 5, "{longest:?} behind a bulk of {whole:?}");
}
