-- New memories, written in one statement, and the common case of remembering in one round trip.

-- A new memory, with all that it will be found by. Its author and its scope are those of the call that brings it.
CREATE TYPE arrival AS (
    memory_id    uuid,
    content      text,
    content_hash bytea,
    kind         text,
    key          text,
    tags         text[],
    importance   double precision,
    metadata     jsonb,
    speaker      text,
    source_type  text,
    source_id    text,
    source_seq   bigint,
    occurred_at  timestamptz,
    expires_at   timestamptz,
    terms        integer[],
    thread       bigint,
    seq          bigint,
    dims         integer,
    windows      halfvec[]
);

-- Writes memories into the scope of their author, which is locked and whose commit has this number. With its caller's
-- rights, so that row security compares every row with the tenant that is set.
CREATE FUNCTION place_arrivals(asked_tenant uuid, author uuid, writer text, number bigint, arrivals arrival[])
RETURNS SETOF memories
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN QUERY
    WITH remembered AS (
        INSERT INTO memories
               (tenant_id, memory_id, agent_uid, content, content_hash, kind, key, tags, importance, metadata, speaker,
                source_type, source_id, source_seq, occurred_at, expires_at, written_by, written_version)
        SELECT asked_tenant, a.memory_id, author, a.content, a.content_hash, a.kind, a.key, a.tags, a.importance,
               a.metadata, a.speaker, a.source_type, a.source_id, a.source_seq, a.occurred_at, a.expires_at, writer, 1
          FROM unnest(arrivals) AS a
     RETURNING *
    ), lexical AS (
        INSERT INTO placement_terms (tenant_id, scope_id, memory_id, n, expires_at, terms, thread, seq)
        SELECT asked_tenant, author, a.memory_id, number, a.expires_at, a.terms, a.thread, a.seq
          FROM unnest(arrivals) AS a
    ), semantic AS (
        INSERT INTO placements (tenant_id, scope_id, memory_id, window_no, n, dims, expires_at, embedding)
        SELECT asked_tenant, author, a.memory_id, w.no - 1, number, a.dims, a.expires_at, w.embedding
          FROM unnest(arrivals) AS a
         CROSS JOIN LATERAL unnest(a.windows) WITH ORDINALITY AS w (embedding, no)
    )
    SELECT * FROM remembered;
END
$$;
GRANT EXECUTE ON FUNCTION place_arrivals(uuid, uuid, text, bigint, arrival[]) TO cairn_app;

-- Remembers what nobody remembers yet: the agent is known, and none of the memories has a key or goes to a circle. All
-- that a write consists of, in the order of `WriteTx`: the tenant's border, the locks, the decision, the bump, the
-- rows. No row in return: the case is not as plain as that, and nothing has happened. VOLATILE, so that each statement
-- has a snapshot younger than the locks before it.
CREATE FUNCTION remember_arrivals(
    asked_tenant uuid, author_id text, writer text, next_tag uuid, arrivals arrival[]
)
RETURNS SETOF memories
LANGUAGE plpgsql
AS $$
DECLARE
    author uuid;
    number bigint;
BEGIN
    PERFORM set_config('cairn.tenant', asked_tenant::text, true);
    -- Somebody writes to the tenant alone, or is about to.
    IF NOT pg_try_advisory_xact_lock_shared(hashtextextended(asked_tenant::text, 0)) THEN
        RETURN;
    END IF;
    -- A tenant with a quota settles it at each commit.
    SELECT a.agent_uid INTO author
      FROM tenants t
      JOIN agents a ON a.tenant_id = t.tenant_id AND a.agent_id = author_id
     WHERE t.tenant_id = asked_tenant
       AND t.status <> 'erasing'
       AND NOT EXISTS (SELECT FROM tenant_totals o WHERE o.tenant_id = asked_tenant)
       FOR KEY SHARE OF a;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM FROM scope_epochs e WHERE e.tenant_id = asked_tenant AND e.scope_id = author FOR NO KEY UPDATE;
    PERFORM
       FROM unnest(arrivals) AS a
      CROSS JOIN LATERAL (SELECT
                            FROM memories m
                           WHERE m.tenant_id = asked_tenant AND m.agent_uid = author
                             AND m.content_hash = a.content_hash OFFSET 0) AS equal
      LIMIT 1;
    IF FOUND THEN
        RETURN;
    END IF;
    UPDATE scope_epochs e
       SET n = e.n + 1, tag = next_tag
     WHERE e.tenant_id = asked_tenant AND e.scope_id = author
 RETURNING e.n INTO STRICT number;
    RETURN QUERY SELECT * FROM place_arrivals(asked_tenant, author, writer, number, arrivals);
END
$$;
GRANT EXECUTE ON FUNCTION remember_arrivals(uuid, text, text, uuid, arrival[]) TO cairn_app;
