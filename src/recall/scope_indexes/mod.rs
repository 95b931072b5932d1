//! Indexes of single scopes: those that hold too many vectors to compare each with a question. A job builds and drops
//! them; an index that is missing, half built or gone makes a recall slower and never wrong.

mod plan;
mod store;

pub use plan::{Plan, Room};
pub use store::{
    IndexState, KnownIndex, LargeScope, Vectors, announce, build, close_door, drop_index, known, large_scopes,
    mark_dropping, mark_ready, remove,
};

/// More than pgvector indexes as halfvec.
const MOST_DIMS: i32 = 4_000;

/// What the index is called. The job knows its own by the beginning.
pub fn index_name(vectors: &Vectors) -> String {
    format!("placements_near_{}_{}", vectors.scope.uuid().simple(), vectors.dims)
}
