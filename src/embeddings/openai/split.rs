//! Texts into windows that the model takes in, windows into calls that the provider takes in.
//! A token is taken as one byte: no tokenizer makes more of them, so nothing is refused as too long.

use std::ops::Range;

use crate::config::Embeddings;

/// The text in pieces of at most `max_bytes`, cut after a space where there is one near. Each begins
/// an eighth before the end of the one before, so that no sentence is only seen in halves.
pub fn windows(text: &str, max_bytes: usize) -> Vec<&str> {
    let overlap = max_bytes / 8;
    let mut windows = Vec::new();
    let mut start = 0;
    while text.len() - start > max_bytes {
        let end = cut(text, start + max_bytes, overlap);
        windows.push(&text[start..end]);
        start = cut(text, end - overlap, overlap);
    }
    windows.push(&text[start..]);
    windows
}

/// The last place to cut at or before `at`: after a space if one is within reach, else between characters.
fn cut(text: &str, at: usize, reach: usize) -> usize {
    let end = text.floor_char_boundary(at);
    let near = &text[text.floor_char_boundary(end.saturating_sub(reach))..end];
    let space = near.char_indices().rev().find(|(_, c)| c.is_whitespace());
    space.map_or(end, |(index, c)| end - near.len() + index + c.len_utf8())
}

/// How much one call may carry.
pub struct CallSize {
    inputs: usize,
    bytes: usize,
}

impl CallSize {
    /// The settings, and no more inputs than an answer of `answer_bytes` has room for.
    pub fn new(settings: &Embeddings, vector_bytes: usize, answer_bytes: usize) -> Self {
        let room = (answer_bytes / vector_bytes).max(1);
        Self { inputs: settings.max_call_inputs.min(room), bytes: settings.max_call_tokens }
    }

    /// Which inputs go together; all of them, in order.
    pub fn split(&self, inputs: &[&str]) -> Vec<Range<usize>> {
        let mut calls = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (index, input) in inputs.iter().enumerate() {
            if index > start && (index - start == self.inputs || bytes + input.len() > self.bytes) {
                calls.push(start..index);
                (start, bytes) = (index, 0);
            }
            bytes += input.len();
        }
        if start < inputs.len() {
            calls.push(start..inputs.len());
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(inputs: usize, bytes: usize) -> CallSize {
        CallSize { inputs, bytes }
    }

    proptest! {
        #[test]
        fn windows_cover_the_text_and_none_is_too_long(text in "(\\PC{0,9} ?){0,60}", max in 64_usize..200) {
            let windows = windows(&text, max);
            let mut covered = 0;
            for window in &windows {
                prop_assert!(window.len() <= max);
                let start = window.as_ptr() as usize - text.as_ptr() as usize;
                prop_assert!(start <= covered, "a gap before {start}");
                prop_assert!(start + window.len() > covered || text.is_empty(), "no progress");
                covered = start + window.len();
            }
            prop_assert_eq!(covered, text.len());
        }

        #[test]
        fn calls_carry_every_input_once_and_keep_within_their_size(
            lengths in prop::collection::vec(0_usize..40, 0..60),
        ) {
            let texts: Vec<String> = lengths.iter().map(|length| "x".repeat(*length)).collect();
            let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
            let calls = size(7, 64).split(&inputs);
            let carried: Vec<usize> = calls.iter().cloned().flatten().collect();
            prop_assert_eq!(carried, (0..inputs.len()).collect::<Vec<_>>());
            for call in calls {
                prop_assert!(!call.is_empty() && call.len() <= 7);
                prop_assert!(inputs[call].iter().map(|input| input.len()).sum::<usize>() <= 64);
            }
        }
    }

    #[test]
    fn a_text_that_fits_is_one_window_and_words_stay_whole() {
        assert_eq!(windows("stone", 64), ["stone"]);
        let text = "stone upon stone ".repeat(10);
        for window in windows(&text, 64) {
            assert!(window.split_whitespace().all(|word| ["stone", "upon"].contains(&word)), "{window:?}");
        }
    }

    #[test]
    fn an_answer_that_would_be_too_large_is_asked_for_in_parts() {
        let settings = Embeddings::default();
        assert_eq!(CallSize::new(&settings, 100, 1_000_000).inputs, 2_048);
        assert_eq!(CallSize::new(&settings, 100, 1_000).inputs, 10);
        assert_eq!(CallSize::new(&settings, 10_000, 1_000).inputs, 1);
    }
}
