//! The book: every move of a run and every effect of one, with the instance that made it, by Postgres and its clock.

use std::fmt;

use sqlx::Row;

use crate::jobs::site::{LEASE_SECS, Site};

/// Each instance has a login of its own, which tells them apart whatever role they act in. Forgetting takes a while, so
/// that runs are hit in the middle.
pub const BOOK: &str = "
    CREATE TABLE moves (due_at timestamptz, moved_to text, attempt integer, moved_by text, at timestamptz);
    CREATE TABLE effects (of_holder boolean, at timestamptz);
    GRANT SELECT, INSERT ON moves, effects TO cairn_app, cairn_owner;
    CREATE INDEX ON moves (at);
    CREATE FUNCTION keep_book() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO cairn.moves VALUES (NEW.due_at, NEW.state, NEW.attempt, session_user, clock_timestamp());
            RETURN NULL;
        END $$;
    CREATE FUNCTION note_effect() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_sleep(0.012);
            INSERT INTO cairn.effects
            SELECT coalesce((SELECT m.moved_to = 'running' AND m.moved_by = session_user
                               FROM cairn.moves m ORDER BY m.at DESC LIMIT 1), false), clock_timestamp();
            RETURN OLD;
        END $$;
    GRANT EXECUTE ON FUNCTION keep_book(), note_effect() TO cairn_app, cairn_owner;
    CREATE TRIGGER keep_book AFTER UPDATE ON job_runs FOR EACH ROW
           WHEN (NEW.job_id = '6a6f6273-0000-8000-8000-000000000001'
                 AND (OLD.state <> NEW.state OR OLD.attempt <> NEW.attempt)) EXECUTE FUNCTION keep_book();
    CREATE TRIGGER note_effect BEFORE DELETE ON memories FOR EACH ROW EXECUTE FUNCTION note_effect();
    -- The other chores would move too.
    UPDATE jobs SET enabled = false, next_due = NULL;";

/// Whoever asks still has the run.
pub const NO_FENCE: &str = "
    DROP FUNCTION hold_job_run;
    CREATE FUNCTION hold_job_run(uuid, uuid, timestamptz, uuid, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    GRANT EXECUTE ON FUNCTION hold_job_run TO cairn_app";

pub struct Verdict {
    /// Seconds from the first due time to the last.
    pub due: i64,
    /// Due times that had one effect.
    pub once: i64,
    /// Those that had more.
    pub doubles: i64,
    /// Those that had none, because nobody looked or every worker was lost.
    pub missing: i64,
    /// The latter.
    pub given_up: i64,
    /// Rows that a worker removed for a run that was not its own.
    pub thawed: i64,
    pub effects: i64,
    pub taken_over: i64,
    pub most_attempts: i32,
    pub latest_secs: f64,
    /// Runs that ended later than the workers they lost account for.
    pub too_late: i64,
}

impl Verdict {
    pub async fn read(site: &Site) -> Self {
        let row = sqlx::query(
            "WITH ended AS (
                 SELECT due_at, count(*) FILTER (WHERE moved_to = 'succeeded') AS times,
                        max(extract(epoch FROM at - due_at))::float8 AS late
                   FROM moves WHERE moved_to IN ('succeeded', 'failed', 'cancelled')
                  GROUP BY due_at),
             -- Each worker lost costs a lease and the look of the next one.
             judged AS (
                 SELECT e.*, late > 5 + ($1 + 2) * (SELECT count(*) FROM moves m
                                                     WHERE m.moved_to = 'running' AND m.attempt > 1 AND m.at > e.due_at
                                                       AND m.at < e.due_at + make_interval(secs => late)) AS too_late
                   FROM ended e),
             asked AS (
                 SELECT generate_series(min(due_at), max(due_at), interval '1 second') AS due_at
                   FROM job_runs WHERE cause = 'schedule')
             SELECT count(*), count(*) FILTER (WHERE times = 1), count(*) FILTER (WHERE times > 1),
                    count(*) FILTER (WHERE coalesce(times, 0) = 0),
                    (SELECT count(*) FROM effects WHERE NOT of_holder), (SELECT count(*) FROM effects),
                    (SELECT count(*) FROM moves WHERE moved_to = 'running' AND attempt > 1),
                    (SELECT max(attempt) FROM moves), max(late),
                    (SELECT count(*) FROM moves WHERE moved_to = 'failed'), count(*) FILTER (WHERE too_late)
               FROM asked LEFT JOIN judged USING (due_at)",
        )
        .bind(LEASE_SECS as f64)
        .fetch_one(&mut site.superuser().await)
        .await
        .expect("the book");
        Self {
            due: row.get(0),
            once: row.get(1),
            doubles: row.get(2),
            missing: row.get(3),
            thawed: row.get(4),
            effects: row.get(5),
            taken_over: row.get(6),
            most_attempts: row.get(7),
            latest_secs: row.get(8),
            given_up: row.get(9),
            too_late: row.get(10),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} due times, {} with one effect, {} doubles, {} missing ({} given up); {} rows removed, {} by a worker that had lost its \
             run; {} runs taken over, at most {} attempts; latest {:.1} s, {} too late",
            self.due,
            self.once,
            self.doubles,
            self.missing,
            self.given_up,
            self.effects,
            self.thawed,
            self.taken_over,
            self.most_attempts,
            self.latest_secs,
            self.too_late
        )
    }
}
