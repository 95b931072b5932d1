//! A warm-up, and what may be said about one.

use anyhow::anyhow;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::error::{Code, Error, Invalid, Result};
use crate::http::{ETag, FromBody};
use crate::ids::JobId;
use crate::jobs::{Job, JobFields, Schedule};
use crate::json::{self, Fields, FromJson, Json, MAX_DEPTH};
use crate::warmups::model::Target;
use crate::words::Name;

const MOST_TARGETS: usize = 100;
const UTC: &str = "UTC";
/// An expression as long as the longest that makes sense, and a zone's name.
const MOST_CRON_BYTES: usize = 256;

/// What is asked beforehand, and when.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Warmup {
    pub id: JobId,
    pub name: String,
    /// Five fields, or six with seconds in front.
    #[schema(example = "30 7 * * MON-FRI")]
    pub cron: String,
    /// A name of the IANA database.
    #[schema(example = "Europe/Berlin")]
    pub timezone: String,
    pub targets: Vec<Target>,
    pub enabled: bool,
    /// When it runs next; null while it is not enabled.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_due: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    #[serde(skip)]
    pub version: i32,
}

impl Warmup {
    pub fn etag(&self) -> ETag {
        ETag { incarnation: self.id.uuid(), version: self.version }
    }

    pub fn draft(&self) -> WarmupDraft {
        WarmupDraft {
            name: self.name.clone(),
            cron: self.cron.clone(),
            timezone: self.timezone.clone(),
            targets: self.targets.clone(),
            enabled: self.enabled,
        }
    }
}

/// What a job of this kind keeps in its details.
impl TryFrom<Job> for Warmup {
    type Error = Error;

    fn try_from(job: Job) -> Result<Self> {
        let JobFields { name, cron, timezone, enabled, details, next_due } = job.fields;
        let targets = targets_of(&details).map_err(|invalids| {
            Error::Internal(anyhow!("the targets of warm-up {} are not understood: {invalids:?}", job.job_id))
        })?;
        let Job { job_id: id, created_at, updated_at, version, .. } = job;
        Ok(Self { id, name, cron, timezone, targets, enabled, next_due, created_at, updated_at, version })
    }
}

fn targets_of(details: &Value) -> Result<Vec<Target>, Vec<Invalid>> {
    let unreadable = |_| vec![Invalid::new(Code::InvalidJson, "is not what a warm-up keeps")];
    let bytes = serde_json::to_vec(&details["targets"]).unwrap_or_default();
    Vec::from_json(&json::parse(&bytes, MAX_DEPTH).map_err(unreadable)?)
}

/// A warm-up as its author wants it.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
pub struct WarmupDraft {
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    #[schema(example = "30 7 * * MON-FRI", max_length = 256)]
    pub cron: String,
    #[schema(value_type = Option<String>, default = "UTC", max_length = 256)]
    pub timezone: String,
    #[schema(min_items = 1, max_items = 100)]
    pub targets: Vec<Target>,
    #[schema(required = false, default = true)]
    pub enabled: bool,
}

impl WarmupDraft {
    /// As a job, which is due from this moment on.
    pub fn fields(&self, now: OffsetDateTime) -> Result<JobFields> {
        let schedule = Schedule::parse(&self.cron, &self.timezone)?;
        Ok(JobFields {
            name: self.name.clone(),
            cron: self.cron.clone(),
            timezone: self.timezone.clone(),
            enabled: self.enabled,
            details: json!({ "targets": self.targets }),
            next_due: schedule.next_after(now).filter(|_| self.enabled),
        })
    }
}

impl FromJson for WarmupDraft {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let name = fields.required::<Name>("name").map(|name| name.as_str().to_owned());
        let when = When::read(&mut fields);
        let targets = fields.required::<Targets>("targets").map(|targets| targets.0);
        let enabled = fields.optional("enabled").unwrap_or(true);
        fields.finish(|| {
            let When { cron, timezone } = when?;
            Some(Self { name: name?, cron, timezone, targets: targets?, enabled })
        })
    }
}

impl FromBody for WarmupDraft {}

/// A merge patch of a warm-up: null sets back to the default, where there is one.
#[derive(Debug, Clone, ToSchema)]
pub struct WarmupPatch {
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200)]
    name: Option<String>,
    #[schema(value_type = String, required = false, max_length = 256)]
    cron: Option<String>,
    #[schema(value_type = Option<String>, max_length = 256)]
    timezone: Option<Option<String>>,
    #[schema(value_type = Vec<Target>, required = false, min_items = 1, max_items = 100)]
    targets: Option<Vec<Target>>,
    #[schema(value_type = Option<bool>)]
    enabled: Option<Option<bool>>,
}

impl WarmupPatch {
    pub fn apply(self, before: WarmupDraft) -> WarmupDraft {
        WarmupDraft {
            name: self.name.unwrap_or(before.name),
            cron: self.cron.unwrap_or(before.cron),
            timezone: self.timezone.map_or(before.timezone, |zone| zone.unwrap_or_else(|| UTC.into())),
            targets: self.targets.unwrap_or(before.targets),
            enabled: self.enabled.map_or(before.enabled, |enabled| enabled.unwrap_or(true)),
        }
    }
}

impl FromJson for WarmupPatch {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let name = fields.optional::<Name>("name").map(|name| name.as_str().to_owned());
        let cron = fields.optional::<Text>("cron").map(|cron| cron.0);
        let timezone = fields.patch::<Text>("timezone").map(|zone| zone.map(|zone| zone.0));
        let targets = fields.optional::<Targets>("targets").map(|targets| targets.0);
        let enabled = fields.patch("enabled");
        fields.finish(|| Some(Self { name, cron, timezone, targets, enabled }))
    }
}

impl FromBody for WarmupPatch {
    const IS_PATCH: bool = true;
}

/// A schedule to be looked at.
#[derive(Debug, Clone, ToSchema)]
#[schema(as = WarmupPreviewRequest)]
pub struct PreviewRequest {
    #[schema(example = "*/15 * * * *", max_length = 256)]
    cron: String,
    #[schema(value_type = Option<String>, default = "UTC", max_length = 256)]
    timezone: String,
}

impl PreviewRequest {
    pub fn schedule(&self) -> Result<Schedule> {
        Ok(Schedule::parse(&self.cron, &self.timezone)?)
    }
}

impl FromJson for PreviewRequest {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let when = When::read(&mut fields);
        fields.finish(|| when.map(|When { cron, timezone }| Self { cron, timezone }))
    }
}

impl FromBody for PreviewRequest {}

/// When a schedule is due next.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WarmupPreview)]
pub struct Preview {
    /// The next five times.
    #[serde(serialize_with = "times")]
    pub due: Vec<OffsetDateTime>,
}

fn times<S: serde::Serializer>(times: &[OffsetDateTime], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Time(#[serde(with = "time::serde::rfc3339")] OffsetDateTime);
    serializer.collect_seq(times.iter().map(|time| Time(*time)))
}

/// The two fields that say when, read and held against each other.
struct When {
    cron: String,
    timezone: String,
}

impl When {
    fn read(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let cron = fields.required::<Text>("cron").map(|cron| cron.0);
        let timezone = fields.nullable::<Text>("timezone").map_or_else(|| UTC.into(), |zone| zone.0);
        let (cron, timezone) = (cron?, timezone);
        match Schedule::parse(&cron, &timezone) {
            Ok(_) => Some(Self { cron, timezone }),
            Err(invalids) => {
                fields.complain_of(invalids);
                None
            }
        }
    }
}

struct Text(String);

impl FromJson for Text {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let text = json::text(json)?;
        if text.len() > MOST_CRON_BYTES {
            let detail = format!("may have {MOST_CRON_BYTES} bytes, not {}", text.len());
            return Err(Invalid::new(Code::FieldTooLong, detail).into());
        }
        Ok(Self(text.to_owned()))
    }
}

struct Targets(Vec<Target>);

impl FromJson for Targets {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let targets: Vec<Target> = Vec::from_json(json)?;
        match targets.len() {
            0 => Err(Invalid::new(Code::FieldEmpty, "must not be empty").into()),
            1..=MOST_TARGETS => Ok(Self(targets)),
            more => {
                let detail = format!("may have {MOST_TARGETS} items, not {more}");
                Err(Invalid::new(Code::TooManyItems, detail).into())
            }
        }
    }
}
