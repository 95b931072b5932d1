//! Forms of a word become one by its stem (Snowball). Which rules apply is a matter of the script; a word in Latin
//! letters is reduced by the rules of English, and by those of its text's language too, where that can be told. So a
//! question of two words, whose language nobody can tell, finds what it would have found in English.

use std::sync::LazyLock;

use rust_stemmers::{Algorithm, Stemmer};
use whatlang::{Detector, Lang};

/// With as large a share of English words of grammar, a text is English, and no language need be looked for.
const ENGLISH: f64 = 0.25;

/// How sure a language must be; two words leave it at a tenth.
const SURE: f64 = 0.5;

/// Languages in Latin letters that there are rules for.
const LATIN: [(Lang, Algorithm); 13] = [
    (Lang::Eng, Algorithm::English),
    (Lang::Dan, Algorithm::Danish),
    (Lang::Nld, Algorithm::Dutch),
    (Lang::Fin, Algorithm::Finnish),
    (Lang::Fra, Algorithm::French),
    (Lang::Deu, Algorithm::German),
    (Lang::Hun, Algorithm::Hungarian),
    (Lang::Ita, Algorithm::Italian),
    (Lang::Nob, Algorithm::Norwegian),
    (Lang::Por, Algorithm::Portuguese),
    (Lang::Ron, Algorithm::Romanian),
    (Lang::Spa, Algorithm::Spanish),
    (Lang::Swe, Algorithm::Swedish),
];

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::with_allowlist(LATIN.iter().map(|(language, _)| *language).collect()));

/// How the words of one text are reduced.
pub struct Stems {
    english: Stemmer,
    /// Of the text's language, if it is another.
    own: Option<Stemmer>,
}

impl Stems {
    /// `grammar` is the share of English words of grammar among the text's words.
    pub fn of(text: &str, grammar: f64) -> Self {
        let own = if grammar >= ENGLISH { None } else { language(text) };
        Self { english: Stemmer::create(Algorithm::English), own: own.map(Stemmer::create) }
    }

    /// The stems of a word in lower case: one, or two that differ.
    pub fn each(&self, word: &str) -> impl Iterator<Item = String> + use<> {
        let (first, own) = match of_script(word) {
            Some(rules) => (Stemmer::create(rules).stem(word).into_owned(), None),
            None => (self.english.stem(word).into_owned(), self.own.as_ref().map(|own| own.stem(word).into_owned())),
        };
        let own = own.filter(|own| *own != first);
        std::iter::once(first).chain(own)
    }
}

/// None: English, or nobody can tell.
fn language(text: &str) -> Option<Algorithm> {
    let found = DETECTOR.detect(text).filter(|found| found.confidence() >= SURE)?.lang();
    LATIN.iter().find(|(language, _)| *language == found && found != Lang::Eng).map(|(_, algorithm)| *algorithm)
}

/// By its first letter; none: Latin, or a script without rules.
fn of_script(word: &str) -> Option<Algorithm> {
    match word.chars().next()? {
        'Ͱ'..='Ͽ' | 'ἀ'..='῾' => Some(Algorithm::Greek),
        'Ѐ'..='ӿ' => Some(Algorithm::Russian),
        '؀'..='ۿ' => Some(Algorithm::Arabic),
        '\u{0B80}'..='\u{0BFF}' => Some(Algorithm::Tamil),
        _ => None,
    }
}
