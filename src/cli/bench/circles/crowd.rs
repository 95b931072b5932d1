//! A circle of as many members as there may be: how long it takes to fill, and to delete.

use std::time::Instant;

use hyper::body::Bytes;
use serde::Serialize;

use crate::cli::bench::circles::{Size, fill};
use crate::cli::bench::generator::Call;
use crate::cli::bench::site::Site;

const CIRCLE: &str = "crowd";
/// Members a call, as many as one may name.
const LIST: usize = 1_000;

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Crowd {
    pub members: u16,
    /// All lists, one after the other.
    pub adding_ms: f64,
    /// With members, and as many shared memories as other circles have.
    pub deleting_ms: f64,
}

impl Crowd {
    pub async fn measure(site: &Site, size: Size) -> anyhow::Result<Self> {
        let mut connection = site.instance.address(&site.tenant.key)?.connect().await?;
        fill::create(&mut connection, CIRCLE).await?;
        let members: Vec<_> = (1..=size.members).map(|number| format!("member-{number}")).collect();
        let adding = Instant::now();
        for list in members.chunks(LIST) {
            fill::add(&mut connection, CIRCLE, list.iter().map(|agent| (agent.clone(), "editor"))).await?;
        }
        let adding_ms = adding.elapsed().as_secs_f64() * 1e3;
        fill::share(&mut connection, CIRCLE, "member-1", size).await?;
        let delete = Call::delete(&format!("/v1/circles/{CIRCLE}"), 200)?;
        let deleting = Instant::now();
        connection.call(&delete, Bytes::new()).await?;
        Ok(Self { members: size.members, adding_ms, deleting_ms: deleting.elapsed().as_secs_f64() * 1e3 })
    }
}
