//! What a question says, read from its words alone. Pure.

use crate::memories::terms;

pub struct Question {
    /// Its words as terms, in ascending order, each once.
    pub terms: Vec<i32>,
}

impl Question {
    pub fn read(query: &str) -> Self {
        let mut terms = terms(query);
        terms.dedup();
        Self { terms }
    }
}
