//! What can be asked of recall, and what it answers.

mod answer;
mod request;

pub use answer::{Explain, Path, RecallAnswer, Recalled, Via, ViaKind, Warning};
pub use request::{CircleRecallRequest, Mode, RecallRequest, Within};
