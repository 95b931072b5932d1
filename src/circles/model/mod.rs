//! What circles are made of, and how requests describe it.

mod circle;

pub use circle::{Circle, CircleDraft, CirclePatch, CircleProfile, CircleReceipt};
