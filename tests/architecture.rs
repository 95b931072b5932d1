//! The house rules as data: which module may use which, and what a file of each role may name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules in the order of ranks; each may use those of lower ranks. Tools (rank 1) and features (rank 2)
/// may also use earlier ones of their own rank.
const MODULES: [(&str, u8); 35] = [
    ("error", 0),
    ("ids", 0),
    ("json", 0),
    ("words", 0),
    ("config", 0),
    ("telemetry", 0),
    ("sabotage", 0),
    ("breaker", 0),
    ("secrets", 1),
    ("redis", 1),
    ("rates", 1),
    ("turns", 1),
    ("events", 1),
    ("db", 1),
    ("cache", 1),
    ("bert", 1),
    ("embeddings", 1),
    ("rerank", 1),
    ("http", 1),
    ("app", 1),
    ("auth", 2),
    ("usage", 2),
    ("tenants", 2),
    ("jobs", 2),
    ("agents", 2),
    ("memories", 2),
    ("circles", 2),
    ("recall", 2),
    ("warmups", 2),
    ("insight", 2),
    ("erase", 2),
    ("server", 3),
    ("scheduler", 3),
    ("health", 3),
    ("cli", 3),
];

/// What a file in a feature is, from the inside out; each may use its own kind and what lies further in.
const ROLES: [(&str, &[&str]); 4] = [
    (
        "model",
        &[
            "model",
            "fields",
            "key",
            "permission",
            "role",
            "token",
            "text",
            "language",
            "marks",
            "thread",
            "patch",
            "question",
            "rank",
            "pack",
            "canonical",
            "advice",
            "quotas",
        ],
    ),
    (
        "store",
        &[
            "store",
            "locks",
            "gate",
            "signing",
            "filter",
            "placements",
            "arrivals",
            "candidates",
            "history",
            "proof",
            "removals",
            "shares",
            "scope_indexes",
            "index",
        ],
    ),
    ("service", &["service", "credential", "issuers", "uses", "tenant"]),
    ("routes", &["routes", "caller", "middleware", "inside", "sabotage"]),
];

/// Names that a role must not know.
const FORBIDDEN: [(&str, &[&str]); 3] = [
    ("model", &["actix_web", "sqlx::query", "now_utc", "SystemTime", "Instant::now"]),
    ("store", &["actix_web", "crate::app", "App"]),
    ("service", &["actix_web", "StatusCode", "sqlx::query"]),
];

struct Source {
    path: PathBuf,
    module: String,
    /// The part in a feature folder (`service` for `service/edit.rs`), if it is one.
    part: Option<String>,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(source(&root, path));
            }
        }
    }
    sources
}

fn source(root: &Path, path: PathBuf) -> Source {
    let inside = path.strip_prefix(root).expect("below src").with_extension("");
    let mut parts = inside.iter().map(|part| part.to_string_lossy().into_owned());
    let module = parts.next().expect("a name");
    let part = parts.next();
    let text = fs::read_to_string(&path).expect("UTF-8");
    // Tests at the end of a file may use what they like.
    let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
    Source { path, module, part, text }
}

fn rank(module: &str) -> Option<(usize, u8)> {
    let index = MODULES.iter().position(|(name, _)| *name == module)?;
    Some((index, MODULES[index].1))
}

/// The first names after `crate::`, in single uses and in groups.
fn used(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let group = group.split(';').next().unwrap_or_default();
            let mut depth = 0;
            let mut name = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => name.clear(),
                    c if depth == 0 && (c.is_alphanumeric() || c == '_') => name.push(c),
                    _ => {}
                }
                if depth == 0 && rank(name.trim()).is_some() {
                    names.insert(name.clone());
                }
            }
        } else {
            names.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    names
}

#[test]
fn every_module_uses_only_what_stands_above_it() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| !["lib", "main"].contains(&source.module.as_str())) {
        let (own_index, own_rank) =
            rank(&source.module).unwrap_or_else(|| panic!("{} has no rank: add it to MODULES", source.module));
        for name in used(&source.text) {
            let Some((index, other_rank)) = rank(&name) else { continue };
            let allowed = name == source.module
                || other_rank < own_rank
                || (other_rank == own_rank && (index < own_index || own_rank == 0 || own_rank == 3));
            if !allowed {
                broken.push(format!("{} uses {name}", source.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_map_lists_the_modules_in_the_order_of_ranks() {
    let map = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).expect("lib.rs");
    let listed: Vec<&str> = map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.split(';').next()).collect();
    assert_eq!(listed, MODULES.map(|(name, _)| name));
}

fn role(part: &str) -> Option<usize> {
    ROLES.iter().position(|(_, parts)| parts.contains(&part))
}

#[test]
fn within_a_feature_routes_use_services_use_stores_use_models() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| rank(&source.module).is_some_and(|(_, rank)| rank == 2)) {
        let part = source.part.as_deref().unwrap_or_default();
        if part == "mod" {
            continue;
        }
        let own = role(part).unwrap_or_else(|| panic!("{} has no role: add it to ROLES", source.path.display()));
        for rest in source.text.split(&format!("crate::{}::", source.module)).skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if role(&name).is_some_and(|other| other > own) {
                broken.push(format!("{} uses {name}", source.path.display()));
            }
        }
        let (name, _) = ROLES[own];
        for word in FORBIDDEN.iter().filter(|(role, _)| *role == name).flat_map(|(_, words)| *words) {
            if source
                .text
                .split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
                .any(|token| token == *word || token.starts_with(&format!("{word}::")))
            {
                broken.push(format!("{} names {word}", source.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_feature_is_entered_through_its_front_door() {
    let features: Vec<&str> = MODULES.iter().filter(|(_, rank)| *rank == 2).map(|(name, _)| *name).collect();
    let mut broken = Vec::new();
    for source in sources() {
        for feature in features.iter().filter(|feature| **feature != source.module) {
            for rest in source.text.split(&format!("crate::{feature}::")).skip(1) {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if role(&name).is_some() && rest[name.len()..].starts_with("::") {
                    broken.push(format!("{} reaches into {feature}::{name}", source.path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn status_codes_live_in_one_place() {
    // The command line and the embeddings read the statuses of answers, as any client does.
    let sources = sources();
    let knows = |source: &&Source| {
        !["cli", "embeddings", "rerank"].contains(&source.module.as_str())
            && (source.text.contains("StatusCode::from_u16") || source.text.contains("422"))
    };
    let places: Vec<_> = sources.iter().filter(knows).map(|source| source.path.file_name()).collect();
    assert_eq!(places, [Some("error.rs".as_ref())]);
}

/// Every file of the repository but those of other people, of tests, and of the build.
fn shipped() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let apart = ["target", ".git", ".runtime", "cairn-data", "tests"].map(|name| root.join(name));
    let mut folders = vec![root.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_file() {
                files.push(path);
            } else if path.is_dir() && !apart.contains(&path) {
                folders.push(path);
            }
        }
    }
    files
}

/// An API key, 32 bytes in base64, or a private key.
fn looks_secret(word: &str) -> bool {
    let is_key = word.starts_with("cairn_") && word.split('_').count() == 5 && word.len() > 110;
    let is_base64 = word.len() == 44 && word.ends_with('=') && base64_digits(&word[..43]);
    is_key || is_base64 || word.ends_with("PRIVATE")
}

fn base64_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte))
}

/// The words of a text, a key or a base64 text being one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && !"+/-_=".contains(c))
        .flat_map(|word| [word, word.split_once('=').map_or(word, |(_, value)| value)])
}

#[test]
fn no_secret_is_written_anywhere() {
    let files = shipped();
    assert!(files.len() > 100, "{files:?}");
    let mut found = Vec::new();
    for path in files {
        let text = String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned();
        found.extend(words(&text).filter(|word| looks_secret(word)).map(|word| format!("{}: {word}", path.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_secret_would_be_found() {
    let key = format!("cairn_live_{}_{}_{}", "0198c5a6-7d3e-7000-8000-000000000000", "ab".repeat(32), "0123abcd");
    let base64 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    for line in [format!("key = \"{key}\""), format!("CAIRN_SECRET_KEY={base64}"), format!("secret_key: {base64}")] {
        assert!(words(&line).any(looks_secret), "{line}");
    }
    assert!(!words("cairn_live_... and DATABASE_URL=postgres://cairn@db/cairn").any(looks_secret));
}
