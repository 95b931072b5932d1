//! What can be asked of recall.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::cache::CacheUse;
use crate::config::Limits;
use crate::error::{Code, Invalid, Result};
use crate::http::FromBody;
use crate::ids::ExternalId;
use crate::json::{Fields, FromJson, Json, text, whole_number, wrong_type};
use crate::memories::MemoryFilter;
use crate::recall::model::rules::Explaining;
use crate::words::bounded;

const MAX_QUERY_BYTES: usize = 8 * 1024;
const MAX_CIRCLES: usize = 64;

/// The scopes to search.
#[derive(Debug, Clone, Default, PartialEq, Eq, ToSchema)]
pub enum Within {
    /// The agent's own memories and every circle it is a member of.
    #[default]
    #[schema(rename = "all")]
    All,
    /// The agent's own memories.
    #[schema(rename = "private")]
    Private,
    /// These circles, of which the agent must be a member.
    #[schema(rename = "circles")]
    Circles(Vec<ExternalId>),
}

impl Within {
    /// In one order, however they were named: through which circle a memory is found depends on it.
    fn of_circles(mut ids: Vec<ExternalId>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        Self::Circles(ids)
    }
}

impl FromJson for Within {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        match json {
            Json::Str(name) if name == "all" => Ok(Self::All),
            Json::Str(name) if name == "private" => Ok(Self::Private),
            Json::Object(_) => {
                let mut fields = Fields::of(json)?;
                let circles = match fields.take("circles") {
                    Some(Json::Array(ids)) if ids.is_empty() => {
                        Err(Invalid::new(Code::FieldEmpty, "must not be empty").into())
                    }
                    Some(Json::Array(ids)) if ids.len() > MAX_CIRCLES => Err(Invalid::new(
                        Code::TooManyItems,
                        format!("may name {MAX_CIRCLES} circles, not {}", ids.len()),
                    )
                    .into()),
                    Some(ids) => Vec::from_json(ids),
                    None => Err(Invalid::new(Code::FieldMissing, "is required").into()),
                };
                let circles = circles.map_err(|invalids| fields.complain("circles", invalids)).ok();
                fields.finish(|| circles.map(Self::of_circles))
            }
            Json::Str(_) => {
                Err(Invalid::new(Code::InvalidValue, "must be \"all\", \"private\" or {\"circles\": [..]}").into())
            }
            other => Err(wrong_type(other, "\"all\", \"private\" or {\"circles\": [..]}").into()),
        }
    }
}

crate::from_json_string!(Mode);

/// How to search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ToSchema, strum::EnumString, strum::IntoStaticStr)]
#[schema(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Mode {
    /// By meaning and by words.
    #[default]
    Hybrid,
    /// By meaning alone.
    Semantic,
    /// By words alone.
    Lexical,
}

impl Mode {
    pub fn name(self) -> &'static str {
        self.into()
    }

    fn parse(name: &str) -> Result<Self, Invalid> {
        name.parse().map_err(|_| Invalid::new(Code::InvalidValue, "must be one of hybrid, semantic, lexical"))
    }
}

const DEFAULT_K: usize = 10;

/// A question.
#[derive(Debug, Clone, ToSchema)]
pub struct RecallRequest {
    #[schema(min_length = 1, max_length = 8192, example = "What is broken in the kitchen?")]
    pub query: String,
    /// How many results at most.
    #[schema(minimum = 1, maximum = 100, default = 10, required = false)]
    pub k: usize,
    #[schema(required = false)]
    pub within: Within,
    #[schema(required = false)]
    pub mode: Mode,
    #[schema(required = false)]
    pub filter: MemoryFilter,
    /// Leave out what scores lower.
    #[schema(minimum = 0, maximum = 1)]
    pub min_score: Option<f64>,
    /// Keep the contents within about this many tokens (a token is taken as four bytes).
    #[schema(minimum = 1, maximum = 1000000)]
    pub token_budget: Option<usize>,
    /// Say how each score came about; with `{"without": [..]}` leave rules of ranking out, to see what they do.
    #[schema(required = false)]
    pub explain: Explaining,
    #[schema(required = false)]
    pub cache: CacheUse,
}

impl RecallRequest {
    /// A question with everything else at its default.
    pub fn plain(query: String) -> Self {
        Self {
            query,
            k: DEFAULT_K,
            within: Within::default(),
            mode: Mode::default(),
            filter: MemoryFilter::default(),
            min_score: None,
            token_budget: None,
            explain: Explaining::default(),
            cache: CacheUse::default(),
        }
    }

    /// As it could have been sent, and would be answered the same.
    pub fn to_json(&self) -> Value {
        // Taken apart as a whole, so that no new field can be forgotten.
        let Self { query, k, within, mode, filter, min_score, token_budget, explain, cache: _ } = self;
        let within = match within {
            Within::All => json!("all"),
            Within::Private => json!("private"),
            Within::Circles(ids) => json!({"circles": ids}),
        };
        json!({
            "query": query,
            "k": k,
            "within": within,
            "mode": mode.name(),
            "filter": filter.to_json(),
            "min_score": min_score,
            "token_budget": token_budget,
            "explain": explain,
        })
    }

    /// `within` reads where to search, in its turn.
    fn read(json: &Json<'_>, within: impl FnOnce(&mut Fields<'_, '_>) -> Within) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let query = fields.required::<Query>("query");
        let k = fields.optional::<Count<100>>("k").map_or(DEFAULT_K, |k| k.0);
        let within = within(&mut fields);
        let mode = fields.optional("mode").unwrap_or_default();
        let filter = fields.optional("filter").unwrap_or_default();
        let min_score = fields.nullable::<Score>("min_score").map(|score| score.0);
        let token_budget = fields.nullable::<Count<1_000_000>>("token_budget").map(|budget| budget.0);
        let explain = fields.optional("explain").unwrap_or_default();
        let cache = fields.optional("cache").unwrap_or_default();
        fields
            .finish(|| Some(Self { query: query?.0, k, within, mode, filter, min_score, token_budget, explain, cache }))
    }
}

impl FromJson for RecallRequest {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        Self::read(json, |fields| fields.optional("within").unwrap_or_default())
    }
}

impl FromBody for RecallRequest {
    fn check(&self, limits: &Limits) -> Result<(), Vec<Invalid>> {
        let mut invalids = Vec::new();
        if self.query.len() > limits.query_bytes {
            let detail = format!("may have {} bytes, not {}", limits.query_bytes, self.query.len());
            invalids.push(Invalid::new(Code::FieldTooLong, detail).under("query"));
        }
        if self.k > limits.results {
            let detail = format!("must be a whole number from 1 to {}", limits.results);
            invalids.push(Invalid::new(Code::OutOfRange, detail).under("k"));
        }
        if invalids.is_empty() { Ok(()) } else { Err(invalids) }
    }
}

/// A question to a circle: the same without `within`, since the circle is all that is searched.
#[derive(Debug, Clone)]
pub struct CircleRecallRequest(pub RecallRequest);

impl FromJson for CircleRecallRequest {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        RecallRequest::read(json, |_| Within::default()).map(Self)
    }
}

impl FromBody for CircleRecallRequest {
    fn check(&self, limits: &Limits) -> Result<(), Vec<Invalid>> {
        self.0.check(limits)
    }
}

impl PartialSchema for CircleRecallRequest {
    fn schema() -> RefOr<Schema> {
        let mut schema = RecallRequest::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.properties.remove("within");
            object.description = Some("A question to a circle.".into());
        }
        schema
    }
}

impl ToSchema for CircleRecallRequest {
    fn name() -> Cow<'static, str> {
        "CircleRecallRequest".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        RecallRequest::schemas(schemas);
    }
}

struct Query(String);

impl FromJson for Query {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        Ok(Self(bounded(text(json)?, MAX_QUERY_BYTES)?))
    }
}

/// A whole number from 1 to a maximum.
struct Count<const MAX: i64>(usize);

impl<const MAX: i64> FromJson for Count<MAX> {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        Ok(Self(whole_number(json, 1, MAX)? as usize))
    }
}

struct Score(f64);

impl FromJson for Score {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let score = f64::from_json(json)?;
        if !(0.0..=1.0).contains(&score) {
            return Err(Invalid::new(Code::OutOfRange, "must be 0 to 1").into());
        }
        Ok(Self(score))
    }
}
