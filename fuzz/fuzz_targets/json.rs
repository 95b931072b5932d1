//! Bodies: no bytes make the reader fall over, what is refused is refused briefly, and what is accepted as a
//! memory or as metadata reads back equal from its own JSON.
#![no_main]

use actix_web::body::{BodySize, MessageBody};
use cairn::error::Error;
use cairn::json::{self, FromJson, MAX_DEPTH};
use cairn::memories::NewMemory;
use cairn::words::Metadata;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let json = match json::parse(body, MAX_DEPTH) {
        Ok(json) => json,
        Err(error) => return refused(&error, body),
    };
    assert!(json::depth(&json) <= MAX_DEPTH);
    match NewMemory::from_json(&json) {
        Ok(memory) => reads_back(&memory),
        Err(invalids) => refused(&invalids.into(), body),
    }
    if let Ok(metadata) = Metadata::from_json(&json) {
        let text = serde_json::to_vec(&metadata).expect("JSON");
        let again = json::parse(&text, MAX_DEPTH).expect("what is written can be read");
        assert_eq!(Metadata::from_json(&again).expect("and is accepted again"), metadata);
    }
});

fn reads_back(memory: &NewMemory) {
    let Value::Object(mut written) = serde_json::to_value(memory).expect("JSON") else { panic!("no object") };
    written.retain(|_, value| !value.is_null());
    let text = serde_json::to_vec(&written).expect("JSON");
    let again = json::parse(&text, MAX_DEPTH).expect("what is written can be read");
    let again = NewMemory::from_json(&again).expect("and is accepted again");
    assert_eq!(serde_json::to_value(again).expect("JSON"), serde_json::to_value(memory).expect("JSON"));
}

/// A complaint may quote what it complains about, but does not pile up.
fn refused(error: &Error, body: &[u8]) {
    let answer = error.answer("fuzz");
    assert!(answer.status().is_client_error(), "{error:?}");
    let size = answer.into_body().size();
    let BodySize::Sized(size) = size else { panic!("an answer of unknown size") };
    assert!(size <= 256 * 1024 + 16 * body.len() as u64, "{size} bytes of complaints about {} bytes", body.len());
}
