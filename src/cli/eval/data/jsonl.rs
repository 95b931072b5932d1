//! One memory, or one question, a line.

use std::io::BufRead;

use anyhow::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Memory, Question};

/// Other fields (the answer) are not even read.
#[derive(Deserialize)]
struct Line {
    conversation: String,
    id: String,
    question: String,
    category: String,
    #[serde(default)]
    evidence_ids: Vec<String>,
    #[serde(default = "yes")]
    scored: bool,
}

fn yes() -> bool {
    true
}

pub fn memories(file: impl BufRead) -> anyhow::Result<Vec<Memory>> {
    lines(file)
}

pub fn questions(file: impl BufRead) -> anyhow::Result<Vec<Question>> {
    let lines: Vec<Line> = lines(file)?;
    let counting = lines.into_iter().filter(|line| line.scored && !line.evidence_ids.is_empty());
    let question = |line: Line| Question {
        conversation: line.conversation,
        id: line.id,
        question: line.question,
        category: line.category,
        evidence: line.evidence_ids,
    };
    Ok(counting.map(question).collect())
}

fn lines<T: DeserializeOwned>(file: impl BufRead) -> anyhow::Result<Vec<T>> {
    let mut all = Vec::new();
    for (index, line) in file.lines().enumerate() {
        let line = line?;
        let line = line.trim_start_matches('\u{feff}');
        if !line.trim().is_empty() {
            all.push(serde_json::from_str(line).with_context(|| format!("line {}", index + 1))?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_questions_that_count_are_asked() {
        let file = r#"{"conversation":"c","id":"1","question":"?","category":"any","evidence_ids":["a","b"],"answer":7}

{"conversation":"c","id":"2","question":"?","category":"any","evidence_ids":["a"],"scored":false}
{"conversation":"c","id":"3","question":"?","category":"any"}"#;
        let questions = questions(file.as_bytes()).expect("questions");
        assert_eq!(questions.len(), 1);
        assert_eq!((&*questions[0].id, &questions[0].evidence[..]), ("1", &["a".to_owned(), "b".to_owned()][..]));
        let error = memories("{}\n{".as_bytes()).expect_err("no JSON");
        assert!(format!("{error:#}").starts_with("line 2"), "{error:#}");
    }
}
