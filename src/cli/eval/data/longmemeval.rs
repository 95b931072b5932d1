//! The files of LongMemEval (Wu et al., 2025): each question has a history of sessions with an assistant of its own.

use std::io::BufRead;

use anyhow::Context;
use jiff::civil::DateTime;
use serde::Deserialize;
use serde_json::json;

use super::{Memory, Question};

#[derive(Deserialize)]
struct Instance {
    question_id: String,
    question_type: String,
    question: String,
    haystack_session_ids: Vec<String>,
    haystack_dates: Vec<String>,
    haystack_sessions: Vec<Vec<Turn>>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
    #[serde(default)]
    has_answer: Option<bool>,
}

/// A turn with its place.
struct Said<'a> {
    id: String,
    session: &'a str,
    date: &'a str,
    turn: &'a Turn,
}

pub fn memories(file: impl BufRead) -> anyhow::Result<Vec<Memory>> {
    let mut memories = Vec::new();
    for instance in instances(file)? {
        for (seq, said) in said(&instance).enumerate() {
            let fields = [
                ("conversation", json!(instance.question_id)),
                ("id", json!(said.id)),
                ("session", json!(said.session)),
                ("seq", json!(seq)),
                ("speaker", json!(said.turn.role)),
                ("timestamp", json!(time(said.date).with_context(|| said.id.clone())?)),
                ("text", json!(cut(&said.turn.content))),
            ];
            memories.push(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        }
    }
    Ok(memories)
}

/// Of abstention questions (`_abs`) there is nothing to find.
pub fn questions(file: impl BufRead) -> anyhow::Result<Vec<Question>> {
    let answerable = instances(file)?.into_iter().filter(|instance| !instance.question_id.ends_with("_abs"));
    let question = |instance: Instance| Question {
        evidence: said(&instance).filter(|said| said.turn.has_answer == Some(true)).map(|said| said.id).collect(),
        conversation: instance.question_id.clone(),
        id: instance.question_id,
        question: instance.question,
        category: instance.question_type,
    };
    Ok(answerable.map(question).filter(|question| !question.evidence.is_empty()).collect())
}

fn instances(file: impl BufRead) -> anyhow::Result<Vec<Instance>> {
    serde_json::from_reader(file).context("not as LongMemEval is")
}

/// Turns that say something; a session may be in a history twice, so its place is part of the id.
fn said(instance: &Instance) -> impl Iterator<Item = Said<'_>> {
    let sessions = instance.haystack_session_ids.iter().zip(&instance.haystack_dates).zip(&instance.haystack_sessions);
    sessions.enumerate().flat_map(|(place, ((session, date), turns))| {
        let turns = turns.iter().enumerate().filter(|(_, turn)| !turn.content.trim().is_empty());
        turns.map(move |(index, turn)| Said { id: format!("{place}/{session}/{index}"), session, date, turn })
    })
}

/// As much as a memory holds.
fn cut(content: &str) -> &str {
    const MOST_BYTES: usize = 32 * 1024;
    &content[..content.floor_char_boundary(MOST_BYTES)]
}

/// `2023/05/20 (Sat) 02:21` as a local time without a zone.
fn time(text: &str) -> anyhow::Result<String> {
    let at = DateTime::strptime("%Y/%m/%d (%a) %H:%M", text.trim())?;
    Ok(at.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn instance(id: &str) -> Value {
        let said = |role: &str, content: &str, has: bool| json!({"role": role, "content": content, "has_answer": has});
        json!({
            "question_id": id, "question_type": "multi-session", "question": "?", "answer": "tea",
            "question_date": "2023/06/01 (Thu) 00:58",
            "haystack_session_ids": ["a", "b"],
            "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 14:00"],
            "haystack_sessions": [
                [said("user", "I like tea", true), said("assistant", "Noted", false)],
                [{"role": "user", "content": " "}, {"role": "user", "content": "Two cups", "has_answer": true}],
            ],
        })
    }

    #[test]
    fn turns_become_memories_of_their_question() {
        let file = json!([instance("q1"), instance("q2")]).to_string();
        let memories = memories(file.as_bytes()).expect("memories");
        assert_eq!(memories.len(), 6);
        let expected = json!({"conversation": "q1", "id": "1/b/1", "session": "b", "seq": 2, "speaker": "user",
            "timestamp": "2023-05-21T14:00:00", "text": "Two cups"});
        assert_eq!(Value::Object(memories[2].clone()), expected);
    }

    #[test]
    fn what_no_memory_holds_is_cut_between_characters() {
        assert_eq!((cut("tea"), cut(&"é".repeat(20_000)).len()), ("tea", 32 * 1024));
        assert_eq!(cut(&format!("x{}", "é".repeat(20_000))).len(), 32 * 1024 - 1);
    }

    #[test]
    fn evidence_is_what_has_the_answer_and_abstentions_are_not_scored() {
        let file = json!([instance("q1"), instance("q2_abs")]).to_string();
        let questions = questions(file.as_bytes()).expect("questions");
        assert_eq!(questions.len(), 1);
        assert_eq!(questions[0].evidence, ["0/a/0", "1/b/1"]);
        assert_eq!(questions[0].category, "multi-session");
    }
}
