//! `locomo10.json` of LoCoMo (Maharana et al., 2024): conversations of two people over many sessions, with questions.

use std::collections::HashSet;
use std::io::BufRead;

use anyhow::Context;
use jiff::civil::DateTime;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Memory, Question};

#[derive(Deserialize)]
struct Sample {
    sample_id: String,
    /// `session_1` and so on, `session_1_date_time` and so on, and the names of the speakers.
    conversation: serde_json::Map<String, Value>,
    qa: Vec<Asked>,
}

#[derive(Deserialize)]
struct Turn {
    speaker: String,
    dia_id: String,
    text: String,
    /// Of a picture that was shared.
    blip_caption: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    category: u8,
    #[serde(default)]
    evidence: Vec<String>,
}

/// By their numbers; what vendors print in another order is wrong.
const CATEGORIES: [&str; 4] = ["multi-hop", "temporal", "open-domain", "single-hop"];

pub fn memories(file: impl BufRead) -> anyhow::Result<Vec<Memory>> {
    let mut memories = Vec::new();
    for sample in samples(file)? {
        let turns = turns(&sample)?.into_iter().enumerate();
        memories.extend(turns.map(|(seq, (session, at, turn))| {
            let fields = [
                ("conversation", json!(sample.sample_id)),
                ("id", json!(turn.dia_id)),
                ("session", json!(session)),
                ("seq", json!(seq)),
                ("speaker", json!(turn.speaker)),
                ("timestamp", json!(at)),
                ("text", json!(turn.text)),
                ("image_caption", json!(turn.blip_caption)),
            ];
            fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.into(), value)).collect()
        }));
    }
    Ok(memories)
}

pub fn questions(file: impl BufRead) -> anyhow::Result<Vec<Question>> {
    let mut questions = Vec::new();
    for sample in samples(file)? {
        let turns: HashSet<String> = turns(&sample)?.into_iter().map(|(_, _, turn)| turn.dia_id).collect();
        for (index, asked) in sample.qa.into_iter().enumerate() {
            let mut evidence: Vec<String> = asked.evidence.iter().flat_map(|text| turn_ids(text)).collect();
            let mut seen = HashSet::new();
            evidence.retain(|id| turns.contains(id) && seen.insert(id.clone()));
            // Nothing answers the adversarial ones.
            let category = CATEGORIES.get(usize::from(asked.category).wrapping_sub(1));
            if let (Some(category), false) = (category, evidence.is_empty()) {
                questions.push(Question {
                    conversation: sample.sample_id.clone(),
                    id: format!("{}/q{index}", sample.sample_id),
                    question: asked.question,
                    category: (*category).to_owned(),
                    evidence,
                });
            }
        }
    }
    Ok(questions)
}

fn samples(file: impl BufRead) -> anyhow::Result<Vec<Sample>> {
    serde_json::from_reader(file).context("not as LoCoMo is")
}

/// In the order in which they were said, with the number of their session and when it began.
fn turns(sample: &Sample) -> anyhow::Result<Vec<(u32, Option<String>, Turn)>> {
    let number = |name: &str| name.strip_prefix("session_").and_then(|rest| rest.parse::<u32>().ok());
    let mut sessions: Vec<u32> = sample.conversation.keys().filter_map(|name| number(name)).collect();
    sessions.sort_unstable();
    let mut turns = Vec::new();
    for session in sessions {
        let place = || format!("{} session {session}", sample.sample_id);
        let at = sample.conversation.get(&format!("session_{session}_date_time")).and_then(Value::as_str);
        let at = at.map(time).transpose().with_context(place)?;
        let said: Vec<Turn> =
            serde_json::from_value(sample.conversation[&format!("session_{session}")].clone()).with_context(place)?;
        let said = said.into_iter().filter(|turn| !turn.text.trim().is_empty());
        turns.extend(said.map(|turn| (session, at.clone(), turn)));
    }
    Ok(turns)
}

/// `1:56 pm on 8 May, 2023` as a local time without a zone.
fn time(text: &str) -> anyhow::Result<String> {
    let at = DateTime::strptime("%I:%M %p on %d %B, %Y", text.trim())?;
    Ok(at.to_string())
}

/// Some are written several in a text, with zeros or colons too many: `D8:6; D9:17`, `D:11:26`, `D4:05`.
fn turn_ids(text: &str) -> Vec<String> {
    let candidates = text.split(|c: char| !c.is_ascii_digit() && c != ':');
    let ids = candidates.filter_map(|candidate| {
        let mut numbers = candidate.split(':').filter(|part| !part.is_empty()).map(str::parse::<u32>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(session)), Some(Ok(turn)), None) => Some(format!("D{session}:{turn}")),
            _ => None,
        }
    });
    ids.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> String {
        let turn = |id: &str, text: &str| json!({"speaker": "Noor", "dia_id": id, "text": text});
        let mut pictured = turn("D2:1", "Look");
        pictured["blip_caption"] = json!("a kettle");
        let asked = |category: u8, evidence: &[&str]| json!({"question": "?", "category": category, "evidence": evidence, "answer": 1});
        json!([{
            "sample_id": "conv-1",
            "conversation": {
                "speaker_a": "Noor",
                "session_10": [turn("D10:1", "Last")], "session_10_date_time": "12:05 am on 2 January, 2024",
                "session_2": [pictured], "session_2_date_time": "1:56 pm on 8 May, 2023",
                "session_1": [turn("D1:1", "First"), turn("D1:2", " ")], "session_1_date_time": "9:00 am on 1 May, 2023",
                "session_3_date_time": "9:00 am on 9 May, 2023",
            },
            "qa": [asked(4, &["D1:1"]), asked(1, &["D2:01; D10:1", "D:1:1", "D99:9", "D"]), asked(5, &["D1:1"]), asked(2, &["D77:1"])],
        }])
        .to_string()
    }

    #[test]
    fn turns_become_memories_in_the_order_of_sessions() {
        let memories = memories(sample().as_bytes()).expect("memories");
        let ids: Vec<&Value> = memories.iter().map(|memory| &memory["id"]).collect();
        assert_eq!(ids, ["D1:1", "D2:1", "D10:1"]);
        let expected = json!({"conversation": "conv-1", "id": "D2:1", "session": 2, "seq": 1, "speaker": "Noor",
            "timestamp": "2023-05-08T13:56:00", "text": "Look", "image_caption": "a kettle"});
        assert_eq!(Value::Object(memories[1].clone()), expected);
        assert_eq!(memories[2]["timestamp"], "2024-01-02T00:05:00");
    }

    #[test]
    fn malformed_evidence_is_repaired_and_what_names_no_turn_dropped() {
        let questions = questions(sample().as_bytes()).expect("questions");
        let found: Vec<(&str, &str, &[String])> =
            questions.iter().map(|one| (&*one.id, &*one.category, &one.evidence[..])).collect();
        let repaired = ["D2:1", "D10:1", "D1:1"].map(str::to_owned);
        let single = ["D1:1".to_owned()];
        assert_eq!(found, [("conv-1/q0", "single-hop", &single[..]), ("conv-1/q1", "multi-hop", &repaired[..])]);
    }
}
