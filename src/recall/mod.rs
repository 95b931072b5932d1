//! Recall: find the memories that answer a question. Candidates come from Postgres, in one
//! snapshot; scoring and packing are pure. Answers are kept with a stamp of that snapshot.

mod candidates;
mod canonical;
pub mod index;
mod model;
mod pack;
mod question;
mod rank;
mod routes;
pub mod scope_indexes;
mod service;

pub use candidates::{Nearest, Search, nearest};
pub use canonical::RecallKey;
pub use model::{Explaining, RecallRequest, Rule};
pub use routes::routes;
pub use scope_indexes::{KnownIndex, LargeScope, Plan as IndexPlan, Room as IndexRoom, Vectors};
pub use service::{Engine, HotRecall, HotRecalls, Warmed, rules, warm};
