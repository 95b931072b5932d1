//! Cursors: whatever is sent as one, only those that were given out open, and only to their position.
#![no_main]

use cairn::http::{PageRequest, Params};
use cairn::secrets::SecretKey;
use libfuzzer_sys::fuzz_target;
use time::OffsetDateTime;

const POSITIONS: [&str; 3] = ["ada", "1790000000000000:019dbd4e-7e11-7b0c-9a53-0f9d3b1c7a55", ""];

fuzz_target!(|text: &str| {
    let key = SecretKey::from_base64(&format!("{}=", "A".repeat(43))).expect("32 bytes of zero");
    let page = |query: &str| {
        let mut params = Params::parse(query)?;
        let page = PageRequest::read(&mut params, &key, b"here".to_vec(), OffsetDateTime::UNIX_EPOCH)?;
        params.finish().map(|()| page)
    };
    let given_out = POSITIONS.map(|position| {
        let first = page("limit=1").expect("a page").page(&key, vec![(), ()], |()| position.to_owned());
        first.expect("a page").next_cursor.expect("a next one")
    });
    // As a whole query, as a cursor, and as a change to a genuine one.
    let _ = page(text);
    let changed = text.split_once(' ').and_then(|(at, by)| {
        let (at, genuine) = (at.parse::<usize>().ok()?, &given_out[by.len() % POSITIONS.len()]);
        genuine.get(at..).map(|rest| format!("{}{by}{}", &genuine[..at], rest.get(by.len()..).unwrap_or_default()))
    });
    for cursor in [Some(text.to_owned()), changed].into_iter().flatten() {
        if !cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            continue;
        }
        let opened = page(&format!("cursor={cursor}")).ok().and_then(|page| page.after);
        let expected = given_out.iter().position(|genuine| *genuine == cursor).map(|index| POSITIONS[index]);
        assert_eq!(opened.as_deref(), expected, "{cursor}");
    }
});
