//! Sealed values: what was not sealed with this key for this purpose does not open, what was opens to what it was.
#![no_main]

use cairn::secrets::SecretKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, u8, &str, &[u8])| {
    let (at, flip, purpose, bytes) = input;
    let key = SecretKey::from_base64(&format!("{}=", "A".repeat(43))).expect("32 bytes of zero");
    assert!(key.open(purpose, bytes).is_err(), "opens without having been sealed");

    let mut sealed = key.seal(purpose, bytes).expect("seals");
    assert_eq!(key.open(purpose, &sealed).expect("opens"), bytes);
    assert!(key.open(&format!("{purpose}."), &sealed).is_err(), "opens for another purpose");
    assert!(key.open(purpose, &sealed[..usize::from(at) % sealed.len()]).is_err(), "opens cut short");
    let at = usize::from(at) % sealed.len();
    sealed[at] ^= flip;
    assert_eq!(key.open(purpose, &sealed).is_ok(), flip == 0, "byte {at} changed by {flip:08b}");

    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = SecretKey::from_base64(text)
    {
        assert_eq!(SecretKey::from_base64(&key.to_base64()).expect("reads back").bytes(), key.bytes());
    }
});
