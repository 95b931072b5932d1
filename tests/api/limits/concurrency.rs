//! Requests that are under way at the same time.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Tenant, TestApp};
use crate::limits::limited;

/// A request to be sent by hand, without its end or without reading its answer.
struct Request<'a> {
    app: &'a TestApp,
    tenant: &'a Tenant,
    /// Method and path.
    line: &'a str,
    /// The other headers, and what is sent of the body.
    rest: &'a str,
}

/// A body that never comes to an end.
const ENDLESS: &str = "content-type: application/json\r\ncontent-length: 100\r\n\r\n{";

impl Request<'_> {
    async fn send(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.app.address).await.expect("connects");
        let head = format!("{} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n", self.line, self.tenant.key);
        stream.write_all(format!("{head}{}", self.rest).as_bytes()).await.expect("it is sent");
        stream
    }

    /// Sends it so many times, and again where it was refused, until one more request is refused.
    async fn hold(&self, times: usize) -> Vec<TcpStream> {
        let mut held = Vec::new();
        for _ in 0..100 {
            while held.len() < times {
                held.push(self.send().await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.tenant.get("/v1/agents").await.status == 429 {
                return held;
            }
            // The question above may have been in the way of one of them.
            let mut kept = Vec::new();
            for stream in held {
                let mut head = [0; 12];
                let peeked = tokio::time::timeout(Duration::from_millis(20), stream.peek(&mut head)).await;
                if !matches!(peeked, Ok(Ok(_))) || head.ends_with(b"200") {
                    kept.push(stream);
                }
            }
            held = kept;
        }
        panic!("{times} of {} refuse no other request", self.line);
    }
}

fn endless<'a>(app: &'a TestApp, tenant: &'a Tenant) -> Request<'a> {
    Request { app, tenant, line: "POST /v1/agents/ada/remember", rest: ENDLESS }
}

async fn wait_for(app: &TestApp, tenant: &Tenant, status: u16) {
    for _ in 0..200 {
        let answer = tenant.get("/v1/agents").await;
        if answer.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{} never answers {status}", app.url());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_are_counted_until_they_end() {
    let app = TestApp::start().await;
    let tenant = limited(&app, json!({"concurrent_requests": 2})).await;
    let free = tenant.get("/v1/agents").await;
    free.expect(200);
    assert_eq!(free.header("ratelimit-policy"), "\"tenant-concurrency\";q=2;qu=\"concurrent-requests\"");
    let mut held = endless(&app, &tenant).hold(2).await;
    let refused = tenant.get("/v1/agents").await;
    let problem = refused.assert_problem(429, "rate_limited");
    assert_eq!(problem["detail"], "this tenant may have 2 requests under way at once; try again in 1 s");
    assert_eq!((refused.header("retry-after"), refused.header("ratelimit")), ("1", "\"tenant-concurrency\";r=0"));
    held.pop();
    wait_for(&app, &tenant, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_under_way_until_its_last_byte_is_read() {
    let app = TestApp::start().await;
    let tenant = limited(&app, json!({"concurrent_requests": 1})).await;
    for batch in 0..8 {
        let memories: Vec<_> =
            (0..20).map(|number| json!({"content": format!("{batch} {number} {}", "stone ".repeat(5_000))})).collect();
        tenant.post("/v1/agents/ada/remember/batch", json!({ "memories": memories })).await.expect(200);
    }
    let line = "GET /v1/agents/ada/export";
    let mut export = Request { app: &app, tenant: &tenant, line, rest: "connection: close\r\n\r\n" }.send().await;
    // It has begun, and there is far more of it than a connection holds.
    let mut first = vec![0; 1_024];
    export.read_exact(&mut first).await.expect("it begins");
    assert!(first.starts_with(b"HTTP/1.1 200"));
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tenant.get("/v1/agents").await.assert_problem(429, "rate_limited");
    }
    let mut rest = Vec::new();
    export.read_to_end(&mut rest).await.expect("it ends");
    assert!(rest.len() > 4_000_000, "{}", rest.len());
    wait_for(&app, &tenant, 200).await;
    // One that is not read to its end is not under way for ever either.
    let gone = Request { app: &app, tenant: &tenant, line, rest: "\r\n" }.hold(1).await;
    drop(gone);
    wait_for(&app, &tenant, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_holds_no_more_than_its_own_share_of_requests() {
    let app = TestApp::start_with(|config| config.rates.principal_concurrent_requests = 1).await;
    let tenant = app.new_tenant().await;
    let held = endless(&app, &tenant).hold(1).await;
    app.client(tenant.id, "all", None).await.get("/v1/agents").await.expect(200);
    drop(held);
}
