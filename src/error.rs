//! Everything that can go wrong, named by meaning. Status codes live in `http::error` alone.

use std::fmt;

/// What every fallible function of Cairn returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The closed set of reasons a caller can be told; `http::error` gives each its status and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::VariantArray)]
pub enum Code {
    // The request as a whole
    BadRequest,
    InvalidJson,
    JsonTooDeep,
    UnsupportedMediaType,
    BodyTooLarge,
    HeaderTooLarge,
    UriTooLong,
    RequestTimeout,
    MethodNotAllowed,
    NotFound,
    // A field
    UnknownField,
    FieldMissing,
    FieldEmpty,
    FieldTooLong,
    InvalidType,
    InvalidValue,
    InvalidId,
    InvalidTimestamp,
    InvalidUnicode,
    NumberOutOfRange,
    OutOfRange,
    TooManyItems,
    DuplicateItem,
    ContentTooLarge,
    MetadataTooLarge,
    BatchTooLarge,
    FilterTooComplex,
    InvalidCursor,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    // Who is asking
    Unauthenticated,
    TokenExpired,
    AmbiguousCredentials,
    InsufficientScope,
    AgentMismatch,
    RoleRequired,
    NotAuthor,
    TenantSuspended,
    // The state of things
    KeyTaken,
    IdTaken,
    LastOwner,
    LimitReached,
    SharedReadonly,
    WrongState,
    PreconditionFailed,
    QuotaExceeded,
    RateLimited,
    IdempotencyInProgress,
    Gone,
    // What we depend on
    EmbeddingUnavailable,
    EmbeddingModelMismatch,
    DependencyUnavailable,
    Overloaded,
    Timeout,
    Internal,
}

/// One thing wrong with the input: where (a JSON pointer, empty for the whole), why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    pub pointer: String,
    pub code: Code,
    pub detail: String,
}

impl Invalid {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { pointer: String::new(), code, detail: detail.into() }
    }

    /// The same complaint, seen from one level further out.
    pub fn under(mut self, segment: impl fmt::Display) -> Self {
        let escaped = segment.to_string().replace('~', "~0").replace('/', "~1");
        self.pointer.insert_str(0, &format!("/{escaped}"));
        self
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input is wrong; every complaint at once.
    #[error("{}", summary(.0))]
    Invalid(Vec<Invalid>),
    /// The request is understood and refused.
    #[error("{detail}")]
    Refused { code: Code, detail: String },
    /// More was asked for than may be at once; in so many seconds it may.
    #[error("{detail}")]
    Limited { detail: String, retry_after_secs: u64 },
    /// Something Cairn depends on does not answer; trying again later may help.
    #[error("{detail}")]
    Unavailable {
        code: Code,
        detail: String,
        #[source]
        cause: anyhow::Error,
    },
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

impl Error {
    pub fn refused(code: Code, detail: impl Into<String>) -> Self {
        Self::Refused { code, detail: detail.into() }
    }

    /// `what` is a kind of thing ("memory"), never its id: a foreign id and a random one read alike.
    pub fn not_found(what: &str) -> Self {
        Self::refused(Code::NotFound, format!("no such {what}"))
    }

    /// What an earlier sending of this write left is no longer there.
    pub fn gone(what: &str) -> Self {
        Self::refused(Code::Gone, format!("this write has happened before; its {what} is gone since"))
    }

    pub fn unauthenticated() -> Self {
        Self::refused(Code::Unauthenticated, "send a valid credential: Authorization: Bearer <API key or token>")
    }

    /// Two writers changed the same thing at once and this one would have to start over.
    pub fn changed_meanwhile() -> Self {
        let cause = anyhow::anyhow!("the resource changed between reading and writing");
        Self::unavailable(Code::Overloaded, "the resource changed meanwhile; try again", cause)
    }

    pub fn unavailable(code: Code, detail: impl Into<String>, cause: anyhow::Error) -> Self {
        Self::Unavailable { code, detail: detail.into(), cause }
    }

    /// The same error for another caller who waited for the same thing.
    pub fn copy(&self) -> Self {
        let said = |cause: &anyhow::Error| anyhow::anyhow!("{cause:#}");
        match self {
            Self::Invalid(all) => Self::Invalid(all.clone()),
            Self::Refused { code, detail } => Self::Refused { code: *code, detail: detail.clone() },
            Self::Limited { detail, retry_after_secs } => {
                Self::Limited { detail: detail.clone(), retry_after_secs: *retry_after_secs }
            }
            Self::Unavailable { code, detail, cause } => {
                Self::Unavailable { code: *code, detail: detail.clone(), cause: said(cause) }
            }
            Self::Internal(cause) => Self::Internal(said(cause)),
        }
    }

    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(all) => all.first().map_or(Code::BadRequest, |first| first.code),
            Self::Refused { code, .. } | Self::Unavailable { code, .. } => *code,
            Self::Limited { .. } => Code::RateLimited,
            Self::Internal(_) => Code::Internal,
        }
    }
}

fn summary(all: &[Invalid]) -> String {
    match all {
        [] => "invalid request".into(),
        [only] if only.pointer.is_empty() => only.detail.clone(),
        [only] => format!("{}: {}", only.pointer, only.detail),
        [first, rest @ ..] => format!("{}: {} (and {} more)", first.pointer, first.detail, rest.len()),
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(vec![invalid])
    }
}

impl From<anyhow::Error> for Error {
    fn from(cause: anyhow::Error) -> Self {
        Self::Internal(cause)
    }
}

/// Postgres speaks in SQLSTATE classes; the ones that are not our own bugs get a meaning here.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let state = match &error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
                return Self::unavailable(
                    Code::Overloaded,
                    "all database connections are busy; try again",
                    error.into(),
                );
            }
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
                return unreachable_database(error.into());
            }
            sqlx::Error::Database(database) => database.code().unwrap_or_default().into_owned(),
            _ => String::new(),
        };
        match state.as_str() {
            "57014" => {
                Self::unavailable(Code::Timeout, "the database took too long; ask for less or try again", error.into())
            }
            "40001" | "40P01" | "55P03" => {
                Self::unavailable(Code::Overloaded, "too many writers at once; try again", error.into())
            }
            "57P01" | "57P02" | "57P03" | "57P05" => unreachable_database(error.into()),
            state if state.starts_with("08") || state.starts_with("53") => unreachable_database(error.into()),
            state if state.starts_with("22") || state.starts_with("54") => {
                tracing::warn!(%error, "a value passed validation and was refused by Postgres");
                Self::refused(Code::InvalidValue, "a value cannot be stored")
            }
            _ => Self::Internal(error.into()),
        }
    }
}

pub fn unreachable_database(cause: anyhow::Error) -> Error {
    Error::unavailable(Code::DependencyUnavailable, "the database cannot be reached; try again", cause)
}

/// Turns the violation of a named constraint into what it means to the caller.
pub trait ConstraintExt<T> {
    fn on_constraint(self, name: &str, meaning: impl FnOnce() -> Error) -> Result<T>;
}

impl<T> ConstraintExt<T> for Result<T, sqlx::Error> {
    fn on_constraint(self, name: &str, meaning: impl FnOnce() -> Error) -> Result<T> {
        self.map_err(|error| match &error {
            sqlx::Error::Database(database) if database.constraint() == Some(name) => meaning(),
            _ => error.into(),
        })
    }
}
