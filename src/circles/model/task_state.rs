//! The states of a task, and the steps between them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::circles::model::Task;
use crate::error::{Code, Error, Invalid, Result};
use crate::events::Event;
use crate::ids::{AgentUid, CircleUid, TaskId};
use crate::words::Prose;

/// How far a task is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    sqlx::Type,
    ToSchema,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum TaskState {
    /// Waits for somebody to claim it.
    Open,
    /// Its assignee works on it.
    Claimed,
    /// Waits for an owner to approve or reject it.
    Submitted,
    Approved,
    Cancelled,
}

impl TaskState {
    pub fn name(self) -> &'static str {
        self.into()
    }

    pub fn parse(name: &str) -> Result<Self, Invalid> {
        name.parse().map_err(|_| {
            Invalid::new(Code::InvalidValue, "must be one of open, claimed, submitted, approved, cancelled")
        })
    }

    /// Nothing more is done with it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Approved | Self::Cancelled)
    }
}

/// What is done with a task, where that may change its state.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Claim,
    Submit { result: Option<Prose> },
    Approve,
    Reject { reason: Option<Prose> },
    Cancel,
}

/// What a step changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub state: TaskState,
    pub assignee: Option<AgentUid>,
    pub result: Option<Prose>,
    pub reason: Option<Prose>,
}

impl Step {
    /// Only an agent can: it is the one that does the work.
    pub fn takes_an_agent(&self) -> bool {
        matches!(self, Self::Claim | Self::Submit { .. })
    }

    /// Whether this claim comes too late: another agent has the task, or had it.
    pub fn lost(&self, task: &Task, agent: Option<AgentUid>) -> bool {
        let others = task.assignee_uid.is_some() && task.assignee_uid != agent;
        *self == Self::Claim && task.state != TaskState::Open && others
    }

    /// What this makes of the task when this agent does it.
    pub fn apply(&self, task: &Task, agent: Option<AgentUid>) -> Result<Standing> {
        let before = task.standing();
        match (self, task.state) {
            (Self::Claim, TaskState::Open) if before.assignee.is_none_or(|named| agent == Some(named)) => {
                Ok(Standing { state: TaskState::Claimed, assignee: agent, ..before })
            }
            (Self::Submit { result }, TaskState::Claimed) if before.assignee == agent => {
                Ok(Standing { state: TaskState::Submitted, result: result.clone(), reason: None, ..before })
            }
            (Self::Approve, TaskState::Submitted) => Ok(Standing { state: TaskState::Approved, ..before }),
            (Self::Reject { reason }, TaskState::Submitted) => {
                Ok(Standing { state: TaskState::Open, assignee: None, reason: reason.clone(), ..before })
            }
            (Self::Cancel, state) if state != TaskState::Approved => {
                Ok(Standing { state: TaskState::Cancelled, ..before })
            }
            _ => Err(task.wrong_state()),
        }
    }

    pub fn event(&self, circle: CircleUid, task: TaskId) -> Event {
        let (circle, task) = (circle.uuid(), task.uuid());
        match self {
            Self::Claim => Event::TaskClaimed { circle, task },
            Self::Submit { .. } => Event::TaskSubmitted { circle, task },
            Self::Approve => Event::TaskApproved { circle, task },
            Self::Reject { .. } => Event::TaskRejected { circle, task },
            Self::Cancel => Event::TaskCancelled { circle, task },
        }
    }
}

impl Task {
    pub fn standing(&self) -> Standing {
        Standing {
            state: self.state,
            assignee: self.assignee_uid,
            result: self.result.clone(),
            reason: self.reason.clone(),
        }
    }

    /// Says what state it is in, and what that allows.
    pub fn wrong_state(&self) -> Error {
        let by = |verb: &str| self.assignee.as_ref().map(|agent| format!("{verb} {agent}")).unwrap_or_default();
        let detail = match self.state {
            TaskState::Open => format!("the task is open; it can be claimed{}, or cancelled", by(" by")),
            TaskState::Claimed => format!("the task is claimed{0}; it can be submitted{0}, or cancelled", by(" by")),
            TaskState::Submitted => "the task is submitted; it can be approved, rejected or cancelled".into(),
            TaskState::Approved => "the task is approved; nothing more can be done with it".into(),
            TaskState::Cancelled => "the task is cancelled; nothing more can be done with it".into(),
        };
        Error::refused(Code::WrongState, detail)
    }
}
