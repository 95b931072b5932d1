//! Circles, each with an editor that shares memories and one or two readers.

use anyhow::Context;
use hyper::body::Bytes;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection as _};

use crate::cli::bench::circles::Size;
use crate::cli::bench::generator::{Call, Connection};
use crate::cli::bench::site::Site;
use crate::cli::bench::words::Vocabulary;
use crate::cli::progress::Progress;

/// Reads every circle.
pub const MANY: &str = "many";
/// Reads the first circle only.
pub const ONE: &str = "one";

const BATCH: usize = 100;

pub async fn circles(site: &Site, size: Size) -> anyhow::Result<()> {
    let mut connection = site.instance.address(&site.tenant.key)?.connect().await?;
    let progress = Progress::new(u64::from(size.circles));
    for number in 1..=size.circles {
        let (circle, editor) = (name(number), format!("editor-{number}"));
        create(&mut connection, &circle).await?;
        let readers = [MANY, ONE].into_iter().take(if number == 1 { 2 } else { 1 });
        let members = readers.map(|reader| (reader.to_owned(), "reader")).chain([(editor.clone(), "editor")]);
        add(&mut connection, &circle, members).await?;
        share(&mut connection, &circle, &editor, size).await?;
        progress.at(u64::from(number), &format!("{} memories", u64::from(number) * u64::from(size.memories)));
    }
    progress.end();
    settle(site).await
}

pub fn name(number: u16) -> String {
    format!("circle-{number}")
}

pub async fn create(connection: &mut Connection, circle: &str) -> anyhow::Result<()> {
    let call = Call::put(&format!("/v1/circles/{circle}"), 201)?;
    connection.call(&call, body(&json!({"name": circle}))).await?;
    Ok(())
}

pub async fn add(
    connection: &mut Connection,
    circle: &str,
    members: impl Iterator<Item = (String, &str)>,
) -> anyhow::Result<()> {
    let call = Call::put(&format!("/v1/circles/{circle}/members"), 200)?;
    let members: Vec<_> = members.map(|(agent, role)| json!({"agent_id": agent, "role": role})).collect();
    connection.call(&call, body(&json!({"members": members}))).await?;
    Ok(())
}

/// The same texts in every circle: embedding each once is all that a model has to do.
pub async fn share(connection: &mut Connection, circle: &str, editor: &str, size: Size) -> anyhow::Result<()> {
    let vocabulary = Vocabulary::large();
    let mut writer = vocabulary.writer(u64::MAX);
    let call = Call::post(&format!("/v1/agents/{editor}/remember/batch"), 200)?;
    let memories: Vec<Value> = (0..size.memories)
        .map(|number| json!({"content": format!("{} {number}", writer.text(size.words)), "circles": [circle]}))
        .collect();
    for batch in memories.chunks(BATCH) {
        connection.call(&call, body(&json!({"memories": batch}))).await?;
    }
    Ok(())
}

/// What autovacuum does before long, done now: a recall reads indexes alone as long as pages are known to be visible.
/// Postgres passes over tables that this login may not vacuum.
async fn settle(site: &Site) -> anyhow::Result<()> {
    let mut connection = site.database.connect().await?;
    let vacuum = "VACUUM (ANALYZE) cairn.memories, cairn.placements, cairn.placement_terms, cairn.circle_members";
    sqlx::query(vacuum).execute(&mut connection).await.context("vacuuming")?;
    Ok(connection.close().await?)
}

fn body(json: &Value) -> Bytes {
    Bytes::from(json.to_string())
}
