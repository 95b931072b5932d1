//! Filters: which memories are meant, read from JSON or from query parameters, written as SQL.

mod accepts;
mod canonical;
mod written;

use serde_json::Value;
use sqlx::{Postgres, QueryBuilder};
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{Object, Schema};

use crate::error::{Code, Invalid, Result};
use crate::http::Params;
use crate::ids::{ExternalId, TenantId};
use crate::json::{Fields, FromJson, Json, timestamp, wrong_type};
use crate::memories::fields::{Kind, MemoryKey, Tags};
use crate::words::{Metadata, bounded, value_of};

pub use accepts::Filterable;

const MAX_CONDITIONS: usize = 16;
const MAX_ITEMS: usize = 100;

/// Every condition given must hold.
#[derive(Debug, Clone, Default, ToSchema)]
pub struct MemoryFilter {
    #[schema(required = false, min_items = 1, max_items = 100)]
    kinds: Vec<Kind>,
    /// At least one of these tags.
    #[schema(required = false, min_items = 1, max_items = 100)]
    tags_any: Vec<String>,
    /// All of these tags.
    #[schema(required = false, min_items = 1, max_items = 100)]
    tags_all: Vec<String>,
    #[schema(required = false, min_items = 1, max_items = 100)]
    agent_ids: Vec<ExternalId>,
    #[schema(required = false, min_items = 1, max_items = 100)]
    speakers: Vec<String>,
    /// Ids of sources.
    #[schema(required = false, min_items = 1, max_items = 100)]
    sources: Vec<String>,
    key: Option<MemoryKey>,
    #[schema(minimum = 0, maximum = 1)]
    min_importance: Option<f64>,
    created: Option<Period>,
    occurred: Option<Period>,
    /// By key: a scalar to equal, `{"in": [..]}`, or `{"gte"|"gt"|"lte"|"lt": number}`.
    #[schema(schema_with = described_conditions, required = false)]
    metadata: Vec<(String, Condition)>,
}

/// From `after` (included) to `before` (excluded).
#[derive(Debug, Clone, Copy, Default, ToSchema)]
pub struct Period {
    after: Option<OffsetDateTime>,
    before: Option<OffsetDateTime>,
}

#[derive(Debug, Clone)]
enum Condition {
    In(Vec<Value>),
    /// Pairs of an SQL operator and a number.
    Compare(Vec<(&'static str, Value)>),
}

/// What `metadata` takes, for the specification.
fn described_conditions() -> Object {
    let closed = || Some(AdditionalProperties::<Schema>::FreeForm(false));
    let scalar = || {
        ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Number, Type::Boolean, Type::Null]))
    };
    let items = ArrayBuilder::new().items(scalar()).min_items(Some(1)).max_items(Some(MAX_ITEMS));
    let alternatives = ObjectBuilder::new().property("in", items).required("in").additional_properties(closed());
    let number = || ObjectBuilder::new().schema_type(Type::Number);
    let bounds =
        ["gte", "gt", "lte", "lt"].into_iter().fold(ObjectBuilder::new(), |all, name| all.property(name, number()));
    let bounds = bounds.min_properties(Some(1)).additional_properties(closed());
    let condition = OneOfBuilder::new().item(scalar()).item(alternatives).item(bounds);
    let text = "By key: a scalar to equal, `{\"in\": [..]}`, or `{\"gte\"|\"gt\"|\"lte\"|\"lt\": number}`.";
    ObjectBuilder::new().description(Some(text)).additional_properties(Some(Schema::OneOf(condition.build()))).build()
}

impl MemoryFilter {
    pub fn is_empty(&self) -> bool {
        self.conditions() == 0
    }

    fn conditions(&self) -> usize {
        let lists = [
            self.kinds.is_empty(),
            self.tags_any.is_empty(),
            self.tags_all.is_empty(),
            self.agent_ids.is_empty(),
            self.speakers.is_empty(),
            self.sources.is_empty(),
        ];
        lists.iter().filter(|empty| !**empty).count()
            + usize::from(self.key.is_some())
            + usize::from(self.min_importance.is_some())
            + usize::from(self.created.is_some())
            + usize::from(self.occurred.is_some())
            + self.metadata.len()
    }

    /// The filters that a list takes as query parameters; metadata needs a body.
    pub fn read_params(params: &mut Params) -> Self {
        let period = |after, before| (after, before) != (None, None);
        let created =
            Period { after: params.one("created_after", timestamp), before: params.one("created_before", timestamp) };
        let occurred =
            Period { after: params.one("occurred_after", timestamp), before: params.one("occurred_before", timestamp) };
        Self {
            kinds: params.many("kinds", Kind::parse),
            tags_any: params.many("tags_any", Tags::parse_one),
            tags_all: params.many("tags_all", Tags::parse_one),
            agent_ids: Vec::new(),
            speakers: params.many("speakers", short),
            sources: params.many("sources", short),
            key: params.one("key", MemoryKey::parse),
            min_importance: params.one("min_importance", |raw| {
                let number = raw.parse().map_err(|_| Invalid::new(Code::InvalidType, "must be a number"))?;
                unit_interval(number)
            }),
            created: period(created.after, created.before).then_some(created),
            occurred: period(occurred.after, occurred.before).then_some(occurred),
            metadata: Vec::new(),
        }
    }

    /// The same for a circle, where memories have several authors.
    pub fn read_circle_params(params: &mut Params) -> Self {
        Self { agent_ids: params.many("agent_ids", ExternalId::parse), ..Self::read_params(params) }
    }

    /// Appends ` AND ...` for each condition on a row `m` of `memories`.
    pub fn push(&self, sql: &mut QueryBuilder<Postgres>, tenant: TenantId) {
        if !self.kinds.is_empty() {
            let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
            sql.push(" AND m.kind = ANY(")
                .push_bind(kinds.iter().map(|kind| kind.to_string()).collect::<Vec<_>>())
                .push(")");
        }
        if !self.tags_any.is_empty() {
            sql.push(" AND m.tags && ").push_bind(self.tags_any.clone());
        }
        if !self.tags_all.is_empty() {
            sql.push(" AND m.tags @> ").push_bind(self.tags_all.clone());
        }
        if !self.agent_ids.is_empty() {
            let ids: Vec<String> = self.agent_ids.iter().map(ToString::to_string).collect();
            sql.push(" AND m.agent_uid IN (SELECT agent_uid FROM agents WHERE tenant_id = ").push_bind(tenant);
            sql.push(" AND agent_id = ANY(").push_bind(ids).push("))");
        }
        if !self.speakers.is_empty() {
            sql.push(" AND m.speaker = ANY(").push_bind(self.speakers.clone()).push(")");
        }
        if !self.sources.is_empty() {
            sql.push(" AND m.source_id = ANY(").push_bind(self.sources.clone()).push(")");
        }
        if let Some(key) = &self.key {
            sql.push(" AND m.key = ").push_bind(key.clone());
        }
        if let Some(least) = self.min_importance {
            sql.push(" AND m.importance >= ").push_bind(least);
        }
        push_period(sql, "m.created_at", self.created);
        push_period(sql, "m.occurred_at", self.occurred);
        for (key, condition) in &self.metadata {
            condition.push(sql, key);
        }
    }
}

impl Condition {
    /// jsonb compares numbers as numbers, whatever their spelling.
    fn push(&self, sql: &mut QueryBuilder<Postgres>, key: &str) {
        match self {
            Self::In(values) => {
                sql.push(" AND m.metadata -> ").push_bind(key.to_owned());
                sql.push(" = ANY(").push_bind(values.clone()).push("::jsonb[])");
            }
            Self::Compare(bounds) => {
                sql.push(" AND jsonb_typeof(m.metadata -> ").push_bind(key.to_owned()).push(") = 'number'");
                for (operator, number) in bounds {
                    sql.push(" AND m.metadata -> ").push_bind(key.to_owned());
                    sql.push(" ").push(*operator).push(" ").push_bind(number.clone());
                }
            }
        }
    }
}

fn push_period(sql: &mut QueryBuilder<Postgres>, column: &'static str, period: Option<Period>) {
    let Some(period) = period else {
        return;
    };
    if let Some(after) = period.after {
        sql.push(" AND ").push(column).push(" >= ").push_bind(after);
    }
    if let Some(before) = period.before {
        sql.push(" AND ").push(column).push(" < ").push_bind(before);
    }
}

impl FromJson for MemoryFilter {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let filter = Self {
            kinds: items(&mut fields, "kinds"),
            tags_any: texts(&mut fields, "tags_any", Tags::parse_one),
            tags_all: texts(&mut fields, "tags_all", Tags::parse_one),
            agent_ids: items(&mut fields, "agent_ids"),
            speakers: texts(&mut fields, "speakers", short),
            sources: texts(&mut fields, "sources", short),
            key: fields.nullable("key"),
            min_importance: fields.nullable::<UnitInterval>("min_importance").map(|value| value.0),
            created: fields.nullable("created"),
            occurred: fields.nullable("occurred"),
            metadata: fields.optional::<Conditions>("metadata").map(|conditions| conditions.0).unwrap_or_default(),
        };
        if filter.conditions() > MAX_CONDITIONS {
            let detail = format!("a filter may have {MAX_CONDITIONS} conditions, not {}", filter.conditions());
            return Err(Invalid::new(Code::FilterTooComplex, detail).into());
        }
        fields.finish(|| Some(filter))
    }
}

fn items<T: FromJson>(fields: &mut Fields<'_, '_>, name: &str) -> Vec<T> {
    fields.optional::<Items<T>>(name).map(|items| items.0).unwrap_or_default()
}

fn texts(fields: &mut Fields<'_, '_>, name: &str, parse: impl Fn(&str) -> Result<String, Invalid>) -> Vec<String> {
    let mut parsed = Vec::new();
    for (index, raw) in items::<String>(fields, name).iter().enumerate() {
        match parse(raw) {
            Ok(text) => parsed.push(text),
            Err(invalid) => fields.complain(name, invalid.under(index)),
        }
    }
    parsed
}

fn short(raw: &str) -> Result<String, Invalid> {
    bounded(raw, 256)
}

/// 1 to 100 alternatives.
struct Items<T>(Vec<T>);

impl<T: FromJson> FromJson for Items<T> {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        match json {
            Json::Array(items) if items.is_empty() => Err(Invalid::new(Code::FieldEmpty, "must not be empty").into()),
            Json::Array(items) if items.len() > MAX_ITEMS => Err(too_many_alternatives(items.len()).into()),
            json => Vec::from_json(json).map(Self),
        }
    }
}

fn too_many_alternatives(count: usize) -> Invalid {
    Invalid::new(Code::FilterTooComplex, format!("may have {MAX_ITEMS} alternatives, not {count}"))
}

struct UnitInterval(f64);

impl FromJson for UnitInterval {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        Ok(Self(unit_interval(f64::from_json(json)?)?))
    }
}

fn unit_interval(number: f64) -> Result<f64, Invalid> {
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err(Invalid::new(Code::OutOfRange, "must be 0 to 1")) }
}

impl FromJson for Period {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let (after, before) = (fields.nullable("after"), fields.nullable("before"));
        fields.finish(|| Some(Self { after, before }))
    }
}

struct Conditions(Vec<(String, Condition)>);

impl FromJson for Conditions {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let Json::Object(entries) = json else {
            return Err(wrong_type(json, "an object").into());
        };
        let mut conditions = Vec::with_capacity(entries.len());
        let mut invalids = Vec::new();
        for (key, value) in entries.iter() {
            match condition(key, value) {
                Ok(condition) => conditions.push((key.to_string(), condition)),
                Err(found) => invalids.extend(found.into_iter().map(|invalid| invalid.under(key))),
            }
        }
        if invalids.is_empty() { Ok(Self(conditions)) } else { Err(invalids) }
    }
}

fn condition(key: &str, json: &Json<'_>) -> Result<Condition, Vec<Invalid>> {
    crate::json::no_nul(key)?;
    if key.chars().count() > Metadata::MAX_KEY_CHARS {
        return Err(
            Invalid::new(Code::FieldTooLong, format!("a key may have {} characters", Metadata::MAX_KEY_CHARS)).into()
        );
    }
    let Json::Object(_) = json else {
        return Ok(Condition::In(vec![scalar(json)?]));
    };
    let mut fields = Fields::of(json)?;
    let alternatives = fields.optional::<Items<Scalar>>("in");
    let mut bounds = Vec::new();
    for (name, operator) in [("gte", ">="), ("gt", ">"), ("lte", "<="), ("lt", "<")] {
        if let Some(number) = fields.optional::<f64>(name) {
            bounds.push((operator, Value::from(number)));
        }
    }
    fields.finish(|| Some(())).and_then(|()| match (alternatives, bounds.is_empty()) {
        (Some(items), true) => Ok(Condition::In(items.0.into_iter().map(|item| item.0).collect())),
        (None, false) => Ok(Condition::Compare(bounds)),
        _ => {
            Err(Invalid::new(Code::InvalidValue, "must be a scalar, {\"in\": [..]}, or bounds gte, gt, lte, lt").into())
        }
    })
}

struct Scalar(Value);

impl FromJson for Scalar {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        scalar(json).map(Self)
    }
}

fn scalar(json: &Json<'_>) -> Result<Value, Vec<Invalid>> {
    match json {
        Json::Array(_) | Json::Object(_) => Err(wrong_type(json, "a scalar").into()),
        scalar => value_of(scalar),
    }
}
