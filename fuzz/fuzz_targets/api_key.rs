//! API keys: no text makes the parser fall over, and a key has one spelling.
#![no_main]

use cairn::auth::PlainKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    read(text);
    // The fuzzer cannot guess a checksum.
    read(&format!("{text}_{:08x}", crc32fast::hash(text.as_bytes())));
    let framed = format!("cairn_live_{text}");
    read(&format!("{framed}_{:08x}", crc32fast::hash(framed.as_bytes())));
});

fn read(text: &str) {
    if let Some(key) = PlainKey::parse(text, "live") {
        assert_eq!(key.reveal(), text);
        assert!(key.matches(Some(&key.hash())));
        assert!(!format!("{key:?}").contains(text.rsplit('_').nth(1).expect("a secret")));
    }
}
