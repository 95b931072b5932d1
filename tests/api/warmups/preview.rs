//! A schedule is understood, or it is said what is not.

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_good_schedule_shows_its_next_five_times() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for (body, apart) in
        [(json!({"cron": "*/15 * * * *"}), 900), (json!({"cron": "*/10 * * * * *", "timezone": null}), 10)]
    {
        let due = tenant.post("/v1/warmups/preview", body).await.expect(200)["due"].clone();
        let due: Vec<OffsetDateTime> = due
            .as_array()
            .expect("times")
            .iter()
            .map(|time| OffsetDateTime::parse(time.as_str().expect("text"), &Rfc3339).expect("RFC 3339"))
            .collect();
        assert_eq!(due.len(), 5);
        assert!(due[0] > OffsetDateTime::now_utc() - time::Duration::SECOND);
        assert!(due.windows(2).all(|pair| (pair[1] - pair[0]).whole_seconds() == apart), "{due:?}");
    }
    let zoned = tenant.post("/v1/warmups/preview", json!({"cron": "0 12 * * *", "timezone": "Asia/Tokyo"})).await;
    assert!(zoned.expect(200)["due"][0].as_str().expect("text").ends_with("T03:00:00Z"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_schedule_is_told_which_field_and_why() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let cases = [
        (json!({"cron": "61 * * * *"}), "/cron", "the minute \"61\" is not understood: number out of bounds (0 to 59)"),
        (json!({"cron": "0 0 24 * * *"}), "/cron", "the hour \"24\""),
        (json!({"cron": "0 0 * * NODAY"}), "/cron", "the day of week \"NODAY\""),
        (json!({"cron": "* * * *"}), "/cron", "not 4"),
        (json!({"cron": "0 0 30 2 *"}), "/cron", "never comes"),
        (json!({"cron": ""}), "/cron", "not 0"),
        (json!({"cron": "0 0 * * *", "timezone": "Mars/Olympus"}), "/timezone", "Mars/Olympus"),
    ];
    for (body, pointer, said) in cases {
        let problem = tenant.post("/v1/warmups/preview", body.clone()).await.assert_problem(422, "invalid_value");
        let error = &problem["errors"][0];
        assert_eq!(error["pointer"], pointer, "{body}: {problem}");
        assert!(error["detail"].as_str().expect("text").contains(said), "{body}: {problem}");
    }
    let both =
        tenant.post("/v1/warmups/preview", json!({"cron": "nonsense", "timezone": "Nowhere", "colour": 1})).await;
    let problem = both.assert_problem(422, "invalid_value");
    assert_eq!(problem["errors"].as_array().expect("errors").len(), 3, "{problem}");
}
