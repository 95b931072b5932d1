//! What a question says, read from its words alone: no clock, no memory, no model. English, except for the words
//! themselves and for names.

mod date;

use unicode_segmentation::UnicodeSegmentation;

use crate::memories::{Mark, is_stop_word, terms};

pub use date::NamedDate;

/// What is looked for, as far as words tell.
#[derive(Debug)]
pub struct Question {
    /// Its words as terms and the marks of what answers it, in ascending order, each once.
    pub terms: Vec<i32>,
    /// The time that it names, if it names one.
    pub date: Option<NamedDate>,
    /// In lower case, without the words of grammar.
    words: Vec<String>,
    /// The asker asks about itself: I or my, and not you.
    about_the_asker: bool,
}

impl Question {
    /// `kinds`: whether a question that asks when, or how many, looks for what tells that.
    pub fn read(query: &str, kinds: bool) -> Self {
        let mut terms = terms(query);
        if kinds {
            terms.extend(Mark::wanted_by(query).into_iter().map(Mark::term));
        }
        terms.sort_unstable();
        terms.dedup();
        let mut words = parts(query);
        let about_the_asker =
            words.iter().any(|word| MYSELF.contains(&&**word)) && !words.iter().any(|word| YOU.contains(&&**word));
        words.retain(|word| !is_stop_word(word));
        Self { terms, date: NamedDate::read(query), words, about_the_asker }
    }

    /// Whether it names this speaker, by any part of the name.
    pub fn names(&self, speaker: &str) -> bool {
        parts(speaker).iter().any(|part| self.words.contains(part))
    }

    /// Whether it is about what this speaker, a role in a conversation with an assistant, said.
    pub fn is_asked_by(&self, speaker: &str) -> bool {
        self.about_the_asker && USERS.iter().any(|user| speaker.eq_ignore_ascii_case(user))
    }
}

const MYSELF: [&str; 5] = ["i", "me", "my", "mine", "myself"];
const YOU: [&str; 4] = ["you", "your", "yours", "yourself"];
/// What the one who asks is called where speakers are roles.
const USERS: [&str; 2] = ["user", "human"];

/// Words in lower case, those joined by an apostrophe or an underscore apart.
fn parts(text: &str) -> Vec<String> {
    let words = text.unicode_words().map(str::to_lowercase);
    words.flat_map(|word| word.split(['\'', '’', '_']).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speaker_is_named_by_any_part_of_the_name() {
        let question = Question::read("What is Noor's brother’s name?", true);
        for (speaker, named) in [("Noor", true), ("NOOR Haddad", true), ("Ivo", false), ("Noora", false)] {
            assert_eq!(question.names(speaker), named, "{speaker}");
        }
        assert!(!Question::read("What will happen?", true).names("Will"), "a word of grammar is no name");
    }

    #[test]
    fn who_says_i_and_not_you_asks_about_itself() {
        let about = |query: &str| Question::read(query, true).is_asked_by("user");
        assert!(about("Where did I put my keys?"));
        assert!(!about("What did you tell me?") && !about("Where is the ladder?"));
        assert!(!Question::read("Where are my keys?", true).is_asked_by("assistant"));
    }

    #[test]
    fn what_is_asked_for_is_a_word_of_the_question_unless_switched_off() {
        let (with, without) = (Question::read("When was it?", true), Question::read("When was it?", false));
        assert_eq!(with.terms, [Mark::TellsWhen.term()]);
        assert!(without.terms.is_empty());
    }
}
