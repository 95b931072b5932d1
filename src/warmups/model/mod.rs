//! What a warm-up is, what it asks for, and what a run of one comes to.

mod effect;
mod pace;
mod report;
mod run;
mod target;
mod warmup;

pub use effect::Effect;
pub use pace::{Pace, Pressure};
pub use report::Report;
pub use run::WarmupRun;
pub use target::Target;
pub use warmup::{Preview, PreviewRequest, Warmup, WarmupDraft, WarmupPatch};
