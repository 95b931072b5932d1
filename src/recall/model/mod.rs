//! What can be asked of recall, and what it answers.

mod answer;
mod request;
mod rules;

pub use answer::{Explain, Path, RecallAnswer, Recalled, Via, ViaKind, Warning};
pub use request::{CircleRecallRequest, Mode, RecallRequest, Within};
pub use rules::{Explaining, Rule};
