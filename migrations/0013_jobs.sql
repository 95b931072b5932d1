-- Jobs: what is done without being asked, and each time that it was due. Every time here is the database's: instances
-- need not agree on the hour.

-- Jobs of the installation belong to the operator's own tenant.
CREATE TABLE jobs (
    tenant_id  uuid        NOT NULL,
    job_id     uuid        NOT NULL,
    kind       text        NOT NULL,
    name       text        NOT NULL,
    cron       text        NOT NULL,
    timezone   text        NOT NULL,
    enabled    boolean     NOT NULL,
    -- What it is about, in the terms of its kind.
    details    jsonb       NOT NULL,
    -- NULL: it is not due by itself.
    next_due   timestamptz,
    version    integer     NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT jobs_pkey PRIMARY KEY (tenant_id, job_id),
    CONSTRAINT jobs_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id),
    CONSTRAINT jobs_due_check CHECK (enabled OR next_due IS NULL)
);
CREATE INDEX jobs_due_idx ON jobs (next_due) WHERE next_due IS NOT NULL;
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY jobs_isolation ON jobs USING (tenant_id = current_tenant());

-- One row for each time that a job was due or asked for. Whoever works on it renews a lease; when that ends, another
-- takes over, and the attempt tells the two apart.
CREATE TABLE job_runs (
    tenant_id        uuid        NOT NULL,
    job_id           uuid        NOT NULL,
    due_at           timestamptz NOT NULL,
    run_id           uuid        NOT NULL,
    cause            text        NOT NULL,
    state            text        NOT NULL DEFAULT 'queued',
    attempt          integer     NOT NULL DEFAULT 0,
    worker           uuid,
    lease_until      timestamptz,
    cancel_requested boolean     NOT NULL DEFAULT false,
    -- How far it is: the next attempt goes on from there.
    progress         jsonb,
    report           jsonb,
    error            text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    CONSTRAINT job_runs_pkey PRIMARY KEY (tenant_id, job_id, due_at),
    CONSTRAINT job_runs_id_key UNIQUE (tenant_id, run_id),
    CONSTRAINT job_runs_job_fkey FOREIGN KEY (tenant_id, job_id) REFERENCES jobs (tenant_id, job_id),
    CONSTRAINT job_runs_cause_check CHECK (cause IN ('schedule', 'manual', 'rewarm')),
    CONSTRAINT job_runs_state_check CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    CONSTRAINT job_runs_lease_check CHECK ((state = 'running') = (worker IS NOT NULL AND lease_until IS NOT NULL)),
    CONSTRAINT job_runs_finished_check CHECK ((state IN ('queued', 'running')) = (finished_at IS NULL))
) WITH (fillfactor = 80);
-- A job is not worked on twice at the same time.
CREATE UNIQUE INDEX job_runs_running_key ON job_runs (tenant_id, job_id) WHERE state = 'running';
CREATE INDEX job_runs_open_idx ON job_runs (due_at) WHERE state IN ('queued', 'running');
CREATE INDEX job_runs_finished_idx ON job_runs (tenant_id, finished_at) WHERE finished_at IS NOT NULL;
ALTER TABLE job_runs ENABLE ROW LEVEL SECURITY;
CREATE POLICY job_runs_isolation ON job_runs USING (tenant_id = current_tenant());

-- Jobs that are due, the longest overdue first.
CREATE FUNCTION due_jobs(most bigint)
RETURNS TABLE (tenant_id uuid, job_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
    SELECT j.tenant_id, j.job_id
      FROM jobs j
      JOIN tenants t ON t.tenant_id = j.tenant_id AND t.status = 'active'
     WHERE j.next_due <= statement_timestamp()
     ORDER BY j.next_due
     LIMIT most
$$;
GRANT EXECUTE ON FUNCTION due_jobs(bigint) TO cairn_app;

-- Gives a run to a worker: one that waits, or one whose worker was lost. Tenants that have none under way come first,
-- then the longest overdue. Claims pass one by one, so that each sees what the one before it took; a run that somebody
-- is just committing for is left alone. `outcome` says what became of the run: claimed, taken_over, or, where nobody
-- is to work on it any more, given_up or cancelled.
CREATE FUNCTION claim_job_run(claimer uuid, lease_secs double precision, known_kinds text[], most_attempts integer)
RETURNS TABLE (tenant_id uuid, job_id uuid, due_at timestamptz, kind text, outcome text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
DECLARE
    moment timestamptz;
    run    job_runs;
BEGIN
    PERFORM pg_advisory_xact_lock(7161628502390628353);
    moment := clock_timestamp();
    SELECT r.* INTO run
      FROM job_runs r
      JOIN jobs j ON j.tenant_id = r.tenant_id AND j.job_id = r.job_id
      JOIN tenants t ON t.tenant_id = r.tenant_id AND t.status = 'active'
     WHERE r.state IN ('queued', 'running')
       AND r.due_at <= moment
       AND (r.state = 'queued' OR r.lease_until <= moment)
       AND j.kind = ANY (known_kinds)
       AND NOT EXISTS (SELECT FROM job_runs o
                        WHERE o.tenant_id = r.tenant_id AND o.state = 'running'
                          AND CASE WHEN o.job_id = r.job_id THEN o.due_at <> r.due_at
                                   -- What is asked of a tenant's data goes on at one pace, however many jobs ask.
                                   ELSE r.tenant_id <> 'ffffffff-ffff-ffff-ffff-ffffffffffff' END)
     ORDER BY (SELECT count(*) FROM job_runs o
                WHERE o.tenant_id = r.tenant_id AND o.state = 'running' AND o.lease_until > moment),
              r.due_at, r.job_id
     LIMIT 1
       FOR UPDATE OF r SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    outcome := CASE WHEN run.cancel_requested THEN 'cancelled'
                    WHEN run.state = 'queued' THEN 'claimed'
                    WHEN run.attempt >= most_attempts THEN 'given_up'
                    ELSE 'taken_over' END;
    IF outcome IN ('claimed', 'taken_over') THEN
        UPDATE job_runs r
           SET state = 'running', attempt = r.attempt + 1, worker = claimer,
               lease_until = moment + make_interval(secs => lease_secs), started_at = coalesce(r.started_at, moment)
         WHERE r.tenant_id = run.tenant_id AND r.job_id = run.job_id AND r.due_at = run.due_at;
    ELSE
        UPDATE job_runs r
           SET state = CASE outcome WHEN 'cancelled' THEN 'cancelled' ELSE 'failed' END,
               error = CASE outcome WHEN 'given_up' THEN format('lost its worker %s times', r.attempt) END,
               report = r.progress, worker = NULL, lease_until = NULL, finished_at = moment
         WHERE r.tenant_id = run.tenant_id AND r.job_id = run.job_id AND r.due_at = run.due_at;
    END IF;
    RETURN QUERY
    SELECT run.tenant_id, run.job_id, run.due_at, j.kind, outcome
      FROM jobs j WHERE j.tenant_id = run.tenant_id AND j.job_id = run.job_id;
END
$$;
GRANT EXECUTE ON FUNCTION claim_job_run(uuid, double precision, text[], integer) TO cairn_app;

-- Whether a worker still has its run, which from here on nobody takes from it until the transaction ends. The work is
-- done in any tenant, the run may belong to the operator's.
CREATE FUNCTION hold_job_run(run_tenant uuid, run_job uuid, run_due timestamptz, claimer uuid, claimed_attempt integer)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
BEGIN
    -- The lock excludes a claim, which locks for update, and lets heartbeats pass.
    PERFORM FROM job_runs r
      WHERE r.tenant_id = run_tenant AND r.job_id = run_job AND r.due_at = run_due
        AND r.state = 'running' AND r.worker = claimer AND r.attempt = claimed_attempt
        FOR KEY SHARE;
    RETURN FOUND;
END
$$;
GRANT EXECUTE ON FUNCTION hold_job_run(uuid, uuid, timestamptz, uuid, integer) TO cairn_app;

-- How long the run that waits longest has been due; 0: none waits. One that nobody has noticed yet counts too.
CREATE FUNCTION job_lag_secs() RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
    SELECT coalesce(extract(epoch FROM statement_timestamp() - min(w.due_at)), 0)::double precision
      FROM (SELECT r.tenant_id, r.due_at FROM job_runs r
             WHERE r.state = 'queued' AND r.due_at <= statement_timestamp()
             UNION ALL
            SELECT j.tenant_id, j.next_due FROM jobs j
             WHERE j.next_due <= statement_timestamp()) w
      JOIN tenants t ON t.tenant_id = w.tenant_id AND t.status = 'active'
$$;
GRANT EXECUTE ON FUNCTION job_lag_secs() TO cairn_app;

-- When a memory left a scope: what an index cannot need any more is deleted. Servers of the version before leave it
-- to the default.
ALTER TABLE scope_removals ADD COLUMN removed_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX scope_removals_age_idx ON scope_removals (tenant_id, removed_at);
CREATE INDEX circle_recalls_age_idx ON circle_recalls (tenant_id, minute);
CREATE INDEX circle_events_age_idx ON circle_events (tenant_id, happened_at);

-- A page of the tenants in which something has outlived its time, by id. `kept_secs`: how long it is kept; for
-- memories, which say themselves when they expire, 0.
CREATE FUNCTION tenants_to_purge(chore text, kept_secs double precision, after uuid, most bigint)
RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
    SELECT t.tenant_id
      FROM tenants t, (SELECT statement_timestamp() - make_interval(secs => kept_secs) AS start) o
     WHERE t.status <> 'erasing'
       AND (after IS NULL OR t.tenant_id > after)
       AND CASE chore
           WHEN 'purge_memories' THEN
                EXISTS (SELECT FROM memories m WHERE m.tenant_id = t.tenant_id AND m.expires_at <= o.start)
           WHEN 'purge_removals' THEN
                EXISTS (SELECT FROM scope_removals m WHERE m.tenant_id = t.tenant_id AND m.removed_at < o.start)
           WHEN 'purge_receipts' THEN
                EXISTS (SELECT FROM idempotency_keys m WHERE m.tenant_id = t.tenant_id AND m.created_at < o.start)
           WHEN 'purge_runs' THEN
                EXISTS (SELECT FROM job_runs m WHERE m.tenant_id = t.tenant_id AND m.finished_at < o.start)
           WHEN 'purge_circle_figures' THEN
                EXISTS (SELECT FROM circle_recalls m WHERE m.tenant_id = t.tenant_id AND m.minute < o.start)
                OR EXISTS (SELECT FROM circle_events m WHERE m.tenant_id = t.tenant_id AND m.happened_at < o.start)
           WHEN 'purge_signing_keys' THEN
                t.tenant_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff'
           ELSE true
           END
     ORDER BY t.tenant_id
     LIMIT most
$$;
GRANT EXECUTE ON FUNCTION tenants_to_purge(text, double precision, uuid, bigint) TO cairn_app;
