//! What an evaluation is made of: memories, and questions whose evidence is known. Files are recognised by their shape:
//! JSONL as `cairn import` reads it, or the original files of LoCoMo and LongMemEval.

mod jsonl;
mod locomo;
mod longmemeval;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value};

/// A question that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whose memories answer it.
    pub conversation: String,
    pub id: String,
    pub question: String,
    pub category: String,
    /// The keys of the memories that hold the answer; at least one.
    pub evidence: Vec<String>,
}

/// Memories as `cairn import` reads them, one a line.
pub type Memory = Map<String, Value>;

/// The shapes of files.
enum Shape {
    Lines,
    Locomo,
    LongMemEval,
}

/// All memories of a file.
pub fn memories(path: &Path) -> anyhow::Result<Vec<Memory>> {
    let read = || match shape(path)? {
        Shape::Lines => jsonl::memories(open(path)?),
        Shape::Locomo => locomo::memories(open(path)?),
        Shape::LongMemEval => longmemeval::memories(open(path)?),
    };
    read().with_context(|| format!("reading {}", path.display()))
}

/// The questions of a file that count: those marked so that have evidence.
pub fn questions(path: &Path) -> anyhow::Result<Vec<Question>> {
    let read = || match shape(path)? {
        Shape::Lines => jsonl::questions(open(path)?),
        Shape::Locomo => locomo::questions(open(path)?),
        Shape::LongMemEval => longmemeval::questions(open(path)?),
    };
    let questions = read().with_context(|| format!("reading {}", path.display()))?;
    anyhow::ensure!(!questions.is_empty(), "{}: holds no question to score", path.display());
    Ok(questions)
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    Ok(BufReader::new(File::open(path)?))
}

/// The original files are arrays, and their items are told apart by what comes early in the first of them.
fn shape(path: &Path) -> anyhow::Result<Shape> {
    const ENOUGH: usize = 1024 * 1024;
    let mut file = BufReader::with_capacity(ENOUGH, File::open(path)?);
    let head = String::from_utf8_lossy(file.fill_buf()?).into_owned();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    let names = |name: &str| head.contains(&format!("\"{name}\""));
    match head.chars().next() {
        Some('[') if names("question_type") => Ok(Shape::LongMemEval),
        Some('[') if names("evidence") || names("session_1") => Ok(Shape::Locomo),
        Some('[') => bail!("is an array, but neither of LoCoMo nor of LongMemEval"),
        _ => Ok(Shape::Lines),
    }
}

/// The same memories with nothing but what was said.
pub fn bare(memories: &[Memory]) -> Vec<Memory> {
    const KEPT: [&str; 6] = ["conversation", "id", "key", "text", "content", "image_caption"];
    let kept = |memory: &Memory| {
        memory.iter().filter(|(name, _)| KEPT.contains(&name.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    memories.iter().map(kept).collect()
}

/// Memories in a file of their own, which goes with this.
pub struct Written {
    path: PathBuf,
}

impl Written {
    pub fn new(memories: &[Memory]) -> anyhow::Result<Self> {
        let name = format!("cairn-eval-{}.jsonl", uuid::Uuid::new_v4());
        let written = Self { path: std::env::temp_dir().join(name) };
        let mut file = std::io::BufWriter::new(File::create_new(&written.path)?);
        for memory in memories {
            serde_json::to_writer(&mut file, memory)?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
        Ok(written)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // A file left behind in the folder for temporary ones does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, content).expect("a file");
        (folder, path)
    }

    #[test]
    fn files_are_recognised_by_their_shape() {
        let lines =
            "{\"conversation\":\"c\",\"id\":\"q\",\"question\":\"?\",\"category\":\"any\",\"evidence_ids\":[\"a\"]}\n";
        let locomo = json!([{"sample_id": "c", "conversation": {"session_1": [{"speaker": "Noor", "dia_id": "D1:1",
            "text": "Tea"}]}, "qa": [{"question": "?", "category": 4, "evidence": ["D1:1"]}]}]);
        let longmemeval = json!([{"question_id": "c", "question_type": "any", "question": "?",
            "haystack_session_ids": ["a"], "haystack_dates": ["2023/05/20 (Sat) 02:21"],
            "haystack_sessions": [[{"role": "user", "content": "Tea", "has_answer": true}]]}]);
        for content in [lines.to_owned(), locomo.to_string(), longmemeval.to_string()] {
            let (_folder, path) = file(&content);
            let questions = questions(&path).expect("questions");
            assert_eq!((questions.len(), &*questions[0].conversation), (1, "c"), "{content}");
        }
        let (_folder, path) = file("[1, 2]");
        assert!(questions(&path).is_err_and(|error| format!("{error:#}").contains("neither")));
    }

    #[test]
    fn bare_memories_have_what_was_said_and_no_more() {
        let memory = json!({"conversation": "c", "id": "a", "text": "Tea", "image_caption": "a cup", "speaker": "Noor",
            "timestamp": "2024-01-01T00:00", "session": 1, "seq": 0, "source": {"type": "chat", "id": "x"}});
        let Value::Object(memory) = memory else { panic!("an object") };
        let expected = json!({"conversation": "c", "id": "a", "text": "Tea", "image_caption": "a cup"});
        assert_eq!(Value::Object(bare(&[memory])[0].clone()), expected);
    }

    #[test]
    fn what_is_written_goes_with_its_owner() {
        let written = Written::new(&[Memory::new(), Memory::new()]).expect("a file");
        let path = written.path().to_owned();
        assert_eq!(std::fs::read_to_string(&path).expect("lines"), "{}\n{}\n");
        drop(written);
        assert!(!path.exists());
    }
}
