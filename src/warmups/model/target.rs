//! What is made ready for one agent or circle.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Place;
use crate::error::{Code, Invalid, Result};
use crate::ids::ExternalId;
use crate::json::{Fields, FromJson, Json, whole_number};
use crate::words::bounded;

const MOST_QUERIES: usize = 100;
const MOST_TOP_QUERIES: i64 = 100;
const MOST_QUERY_BYTES: usize = 8 * 1024;

/// What is made ready, and for whom: an agent or a circle. One that is not there at a run is reported by the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = WarmupTarget)]
pub struct Target {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<ExternalId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circle_id: Option<ExternalId>,
    /// Recalled with everything else at its default.
    #[schema(required = false, max_items = 100)]
    pub queries: Vec<String>,
    /// So many of the most frequent recalls of the last 24 hours, as they were asked. Needs the tenant's setting
    /// `keep_queries`.
    #[schema(minimum = 1, maximum = 100)]
    pub top_queries: Option<i64>,
    /// The context of the circle, too.
    #[schema(required = false)]
    pub context: bool,
}

impl Target {
    pub fn place(&self) -> Option<Place> {
        let agent = self.agent_id.clone().map(Place::Agent);
        agent.or_else(|| self.circle_id.clone().map(Place::Circle))
    }

    fn check(&self) -> Result<(), Invalid> {
        let refuse = |detail| Err(Invalid::new(Code::InvalidValue, detail));
        if self.agent_id.is_some() == self.circle_id.is_some() {
            return refuse("must name one agent_id or one circle_id");
        }
        if self.context && self.circle_id.is_none() {
            return refuse("has a context only for a circle_id");
        }
        if self.queries.is_empty() && self.top_queries.is_none() && !self.context {
            return refuse("must ask for something: queries, top_queries, or the context of a circle");
        }
        Ok(())
    }
}

impl FromJson for Target {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let (agent_id, circle_id) = (fields.nullable("agent_id"), fields.nullable("circle_id"));
        let queries: Vec<Query> = fields.optional("queries").unwrap_or_default();
        if queries.len() > MOST_QUERIES {
            let detail = format!("may have {MOST_QUERIES} items, not {}", queries.len());
            fields.complain("queries", Invalid::new(Code::TooManyItems, detail));
        }
        let top_queries = fields.nullable::<TopQueries>("top_queries").map(|top| top.0);
        let context = fields.optional("context").unwrap_or_default();
        let queries = queries.into_iter().map(|query| query.0).collect();
        let target = fields.finish(|| Some(Self { agent_id, circle_id, queries, top_queries, context }))?;
        target.check()?;
        Ok(target)
    }
}

struct Query(String);

impl FromJson for Query {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        Ok(Self(bounded(crate::json::text(json)?, MOST_QUERY_BYTES)?))
    }
}

struct TopQueries(i64);

impl FromJson for TopQueries {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        Ok(Self(whole_number(json, 1, MOST_TOP_QUERIES)?))
    }
}
