//! Packing: how much of a ranked list fits into what the caller can use. Pure.

use crate::memories::Memory;

/// Bytes that a token stands for, about, in the languages and tokenizers of today.
const BYTES_A_TOKEN: usize = 4;

pub fn tokens(memory: &Memory) -> usize {
    memory.fields.content.as_str().len().div_ceil(BYTES_A_TOKEN)
}

/// Keeps the order and leaves out what no longer fits; something shorter further down still may.
pub fn within_budget<T>(items: Vec<T>, budget: Option<usize>, cost: impl Fn(&T) -> usize) -> Vec<T> {
    let Some(mut left) = budget else {
        return items;
    };
    let fits = |item: &T| match left.checked_sub(cost(item)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let mut fits = fits;
    items.into_iter().filter(|item| fits(item)).collect()
}

#[cfg(test)]
mod tests {
    use super::within_budget;

    #[test]
    fn a_budget_keeps_the_best_that_fit_in_order() {
        let costs = vec![5, 9, 3, 2, 1];
        assert_eq!(within_budget(costs.clone(), Some(10), |cost| *cost), [5, 3, 2]);
        assert_eq!(within_budget(costs.clone(), Some(1), |cost| *cost), [1]);
        assert_eq!(within_budget(costs.clone(), None, |cost| *cost), costs);
    }
}
