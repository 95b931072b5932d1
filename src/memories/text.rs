//! What of a memory is embedded and indexed: `[date] speaker: content`, as far as these are given,
//! and the words of it. Changing the form makes old vectors incomparable: see `embeddings::TEXT_FORM`.

use unicode_segmentation::UnicodeSegmentation;

use crate::memories::fields::MemoryFields;
use crate::memories::language::Stems;
use crate::memories::marks::Mark;

/// The text that stands for a memory in both searches.
pub fn indexed_text(memory: &MemoryFields) -> String {
    let mut text = String::with_capacity(memory.content.as_str().len() + 32);
    if let Some(date) = memory.occurred_at {
        text.push_str(&format!("[{} {} {}] ", date.day(), date.month(), date.year()));
    }
    if let Some(speaker) = &memory.speaker {
        text.push_str(speaker.as_str());
        text.push_str(": ");
    }
    text.push_str(memory.content.as_str());
    text
}

/// What a memory is found by in the search by words: the words of its text, and the marks of what it says, in
/// ascending order.
pub fn indexed_terms(memory: &MemoryFields) -> Vec<i32> {
    let mut terms = terms(&indexed_text(memory));
    terms.extend(Mark::of(memory.content.as_str()).into_iter().map(Mark::term));
    terms.sort_unstable();
    terms
}

/// The words of a text as 32-bit hashes, repeats included, in ascending order: Unicode words in
/// lower case, without the words that every text has, reduced to their stems (see `language`).
pub fn terms(text: &str) -> Vec<i32> {
    // Both halves of "Mel's" and "user_id" are words of their own.
    let words: Vec<String> = text.unicode_words().map(str::to_lowercase).collect();
    let words: Vec<&str> = words.iter().flat_map(|word| word.split(['\'', '’', '_'])).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let grammar = words.iter().filter(|word| is_stop_word(word)).count();
    let stems = Stems::of(text, grammar as f64 / words.len().max(1) as f64);
    let kept = words.iter().filter(|word| !is_stop_word(word));
    let mut terms: Vec<i32> = kept.flat_map(|word| stems.each(word)).map(|stem| hash(&stem)).collect();
    terms.sort_unstable();
    terms
}

/// Whether a word, in lower case, is one that every text has.
pub fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.contains(&word)
}

fn hash(term: &str) -> i32 {
    crc32fast::hash(term.as_bytes()) as i32
}

/// Words of English grammar and the words questions are made of. They weigh nothing in a memory
/// and much too much in a question.
const STOP_WORDS: [&str; 96] = [
    "a", "about", "after", "am", "an", "and", "any", "are", "as", "at", "be", "been", "before", "being", "but", "by",
    "can", "could", "d", "did", "do", "does", "doing", "for", "from", "had", "has", "have", "having", "he", "her",
    "hers", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "ll", "m", "me", "my", "of", "on", "or",
    "our", "ours", "re", "s", "she", "should", "so", "such", "t", "than", "that", "the", "their", "theirs", "them",
    "then", "there", "these", "they", "this", "those", "to", "too", "ve", "very", "was", "we", "were", "what", "when",
    "where", "which", "while", "who", "whom", "whose", "why", "will", "with", "would", "you", "your", "yours", "us",
    "some", "just", "also",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_are_one_term_and_grammar_is_none() {
        assert_eq!(terms("When did Melanie paint?"), terms("melanie PAINTING"));
        assert_eq!(terms("what is the"), Vec::<i32>::new());
        assert_eq!(terms("Mel's kids"), terms("mel kid"));
    }

    #[test]
    fn repeats_are_kept_and_sorted() {
        let terms = terms("stone on stone on stone, water");
        assert_eq!(terms.len(), 4);
        assert!(terms.is_sorted());
    }

    #[test]
    fn forms_of_a_word_meet_in_other_languages() {
        let cases = [
            (
                "Die alten Häuser in der Straße waren am Abend hell erleuchtet, und viele Kinder spielten davor.",
                "Kind Haus",
            ),
            (
                "Nous avons acheté des pommes et des poires au marché parce que les enfants aiment beaucoup les fruits.",
                "pomme fruit",
            ),
            (
                "Los niños jugaban en las calles de la ciudad mientras sus padres hablaban de las elecciones.",
                "calle padre",
            ),
            ("Вчера мы покупали яблоки и груши на рынке", "яблоко груша"),
            ("Τα παιδιά έπαιζαν στους δρόμους", "δρόμος"),
        ];
        for (text, wanted) in cases {
            let known = terms(text);
            let found = terms(wanted).iter().filter(|term| known.binary_search(term).is_ok()).count();
            assert!(found >= wanted.split(' ').count(), "{wanted} in {text}");
        }
    }

    #[test]
    fn a_word_alone_is_found_in_a_text_of_any_language() {
        // Whatever the language of two words may be, they are found as they stand.
        let text = terms("Die alten Häuser in der Straße waren am Abend hell erleuchtet.");
        assert!(terms("alten Häuser").iter().all(|term| text.binary_search(term).is_ok()));
    }

    #[test]
    fn every_script_has_words() {
        for text in ["чайник сломан", "قهوة", "水壶坏了", "やかん", "κέτελ"] {
            assert!(!terms(text).is_empty(), "{text}");
        }
    }
}
