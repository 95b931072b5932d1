//! Marks: what kind of thing a text says, kept beside its words as words that nobody can say. A question that asks
//! when is answered by what tells a time, and what follows a question answers it. English; any language's question mark.

use unicode_segmentation::UnicodeSegmentation;

/// A kind of thing that a text may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It asks something.
    Asks,
    /// It says when something was, is or will be.
    TellsWhen,
    /// It has a number.
    TellsHowMany,
}

impl Mark {
    /// The term that stands for it. The text has a space in it, so that no word of a text is hashed alike on purpose.
    pub fn term(self) -> i32 {
        let name = match self {
            Self::Asks => "? asks",
            Self::TellsWhen => "? when",
            Self::TellsHowMany => "? how many",
        };
        crc32fast::hash(name.as_bytes()) as i32
    }

    /// Those of a text.
    pub fn of(text: &str) -> Vec<Self> {
        let words: Vec<String> = text.unicode_words().map(str::to_lowercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let marks = [
            (Self::Asks, text.contains(['?', '？', '؟'])),
            (Self::TellsWhen, tells_when(&words)),
            (Self::TellsHowMany, words.iter().any(|word| is_number(word))),
        ];
        marks.into_iter().filter(|(_, has)| *has).map(|(mark, _)| mark).collect()
    }

    /// Those of what answers a question.
    pub fn wanted_by(question: &str) -> Vec<Self> {
        let words: Vec<String> = question.unicode_words().map(str::to_lowercase).collect();
        let after = |word: &str, next: &[&str]| {
            words.windows(2).any(|pair| pair[0] == word && next.contains(&pair[1].as_str()))
        };
        let when = words.iter().any(|word| word == "when") || after("what", &WHAT_TIME);
        let how_many = after("how", &HOW_MANY);
        let wanted = [(Self::TellsWhen, when), (Self::TellsHowMany, how_many)];
        wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(mark, _)| mark).collect()
    }
}

const WHAT_TIME: [&str; 6] = ["year", "month", "week", "day", "date", "time"];
const HOW_MANY: [&str; 9] = ["many", "much", "long", "old", "often", "far", "big", "tall", "few"];

/// Say when by themselves. May and March say other things as well, and need a word before them.
const TIMES: [&str; 26] = [
    "yesterday",
    "today",
    "tonight",
    "tomorrow",
    "ago",
    "recently",
    "weekend",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "january",
    "february",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "noon",
    "midnight",
];
const AMBIGUOUS_MONTHS: [&str; 2] = ["may", "march"];
const BEFORE_MONTHS: [&str; 7] = ["in", "since", "on", "of", "last", "next", "this"];
const BEFORE_PERIODS: [&str; 7] = ["last", "next", "this", "past", "previous", "coming", "every"];
const PERIODS: [&str; 14] = [
    "night", "evening", "morning", "week", "weekend", "month", "year", "summer", "winter", "spring", "fall", "autumn",
    "few", "couple",
];
const UNITS: [&str; 8] = ["day", "days", "week", "weeks", "month", "months", "year", "years"];
const VAGUE_NUMBERS: [&str; 4] = ["a", "few", "several", "many"];
const NUMBERS: [&str; 20] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "twenty",
    "thirty", "forty", "fifty", "hundred", "thousand", "once", "twice",
];

fn tells_when(words: &[&str]) -> bool {
    let alone = |word: &&str| TIMES.contains(word) || is_year(word);
    words.iter().any(alone) || words.windows(2).any(|pair| together_tell_when(pair[0], pair[1]))
}

fn together_tell_when(first: &str, second: &str) -> bool {
    let counted = is_number(first) || VAGUE_NUMBERS.contains(&first);
    (counted && UNITS.contains(&second))
        || (BEFORE_PERIODS.contains(&first) && PERIODS.contains(&second))
        || (BEFORE_MONTHS.contains(&first) && AMBIGUOUS_MONTHS.contains(&second))
}

fn is_number(word: &str) -> bool {
    word.bytes().any(|byte| byte.is_ascii_digit()) || NUMBERS.contains(&word)
}

/// 1900 to 2099.
fn is_year(word: &str) -> bool {
    word.len() == 4 && (word.starts_with("19") || word.starts_with("20")) && word.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_a_time_a_number_or_asks_is_marked() {
        use Mark::{Asks, TellsHowMany, TellsWhen};
        let cases: [(&str, &[Mark]); 9] = [
            ("The kettle broke yesterday.", &[TellsWhen]),
            ("We moved in last spring.", &[TellsWhen]),
            ("She was here in May.", &[TellsWhen]),
            ("You may march on.", &[]),
            ("Two weeks later it rained.", &[TellsWhen, TellsHowMany]),
            ("Built in 1962", &[TellsWhen, TellsHowMany]),
            ("Three cups", &[TellsHowMany]),
            ("Is it broken?", &[Asks]),
            ("壊れた？", &[Asks]),
        ];
        for (text, marks) in cases {
            assert_eq!(Mark::of(text), marks, "{text}");
        }
    }

    #[test]
    fn a_question_wants_the_kind_that_answers_it() {
        let cases: [(&str, &[Mark]); 5] = [
            ("When did it break?", &[Mark::TellsWhen]),
            ("What year was it?", &[Mark::TellsWhen]),
            ("How many cups are there?", &[Mark::TellsHowMany]),
            ("How did it break?", &[]),
            ("What broke?", &[]),
        ];
        for (question, marks) in cases {
            assert_eq!(Mark::wanted_by(question), marks, "{question}");
        }
    }
}
