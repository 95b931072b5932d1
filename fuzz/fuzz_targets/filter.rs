//! Filters: no input makes the reader fall over, and no value ever becomes SQL.
#![no_main]

use cairn::http::Params;
use cairn::ids::TenantId;
use cairn::json::{self, FromJson, MAX_DEPTH};
use cairn::memories::MemoryFilter;
use libfuzzer_sys::fuzz_target;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

fuzz_target!(|input: &[u8]| {
    if let Ok(json) = json::parse(input, MAX_DEPTH)
        && let Ok(filter) = MemoryFilter::from_json(&json)
    {
        check(&filter);
    }
    if let Ok(query) = std::str::from_utf8(input)
        && let Ok(mut params) = Params::parse(query)
    {
        let filter = MemoryFilter::read_params(&mut params);
        if params.finish().is_ok() {
            check(&filter);
        }
    }
});

/// Everything that a condition may say in SQL; values stand behind `$1`, `$2`, ...
const WORDS: &str = "AND m kind tags agent_uid IN SELECT FROM agents WHERE tenant_id agent_id ANY speaker source_id key \
    importance created_at occurred_at metadata jsonb_typeof number jsonb";

fn check(filter: &MemoryFilter) {
    let mut sql = QueryBuilder::<Postgres>::new("");
    filter.push(&mut sql, TenantId::from_uuid(Uuid::nil()));
    let text = sql.sql().as_str().to_owned();
    assert_eq!(text.is_empty(), filter.is_empty());
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|part| !part.is_empty());
    for part in parts {
        assert!(
            WORDS.split(' ').any(|word| word == part) || part.bytes().all(|byte| byte.is_ascii_digit()),
            "{part:?} in {text}"
        );
    }
    assert!(!text.contains([';', '"', '\\']) && !text.contains("--") && !text.contains("/*"), "{text}");
}
