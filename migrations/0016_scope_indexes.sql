-- Scopes with too many memories to compare each with a question have an index of their own for their vectors. A job
-- builds and drops them, as the owner of the tables; recall uses those that are ready.

CREATE TABLE scope_indexes (
    tenant_id  uuid        NOT NULL,
    scope_id   uuid        NOT NULL,
    dims       integer     NOT NULL,
    index_name text        NOT NULL,
    state      text        NOT NULL,
    -- How many vectors the scope had when the index was built.
    placements bigint      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    ready_at   timestamptz,
    CONSTRAINT scope_indexes_pkey PRIMARY KEY (tenant_id, scope_id),
    CONSTRAINT scope_indexes_state_check CHECK (state IN ('building', 'ready', 'dropping')),
    CONSTRAINT scope_indexes_ready_check CHECK (state <> 'ready' OR ready_at IS NOT NULL)
);
ALTER TABLE scope_indexes ENABLE ROW LEVEL SECURITY;
CREATE POLICY scope_indexes_isolation ON scope_indexes USING (tenant_id = current_tenant());

-- Which scopes are large is read from the statistics, so they have to be young.
ALTER TABLE placements SET (autovacuum_analyze_scale_factor = 0.02);

-- Scopes that hold about so many vectors or more by the statistics, and those with an index, whatever they hold; each
-- counted. Ids and numbers, no content.
CREATE FUNCTION large_scopes(at_least bigint)
RETURNS TABLE (tenant_id uuid, scope_id uuid, dims integer, placements bigint, recalls bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
    WITH frequent AS (
        SELECT v.scope_id
          FROM pg_stats s
          JOIN pg_class c ON c.oid = 'placements'::regclass
         CROSS JOIN unnest(s.most_common_vals::text::uuid[], s.most_common_freqs) AS v (scope_id, share)
         WHERE s.schemaname = 'cairn' AND s.tablename = 'placements' AND s.attname = 'scope_id' AND NOT s.inherited
           -- The statistics are a sample: half of what is asked for may well be all of it.
           AND v.share * c.reltuples >= at_least / 2.0
    ), named AS (
        SELECT e.tenant_id, e.scope_id FROM scope_epochs e JOIN frequent f ON f.scope_id = e.scope_id
         UNION
        SELECT i.tenant_id, i.scope_id FROM scope_indexes i
    )
    SELECT n.tenant_id, n.scope_id, d.dims,
           (SELECT count(*) FROM placements p WHERE p.tenant_id = n.tenant_id AND p.scope_id = n.scope_id),
           (SELECT coalesce(sum(q.recalls), 0)::bigint
              FROM usage_queries q
             WHERE q.tenant_id = n.tenant_id AND q.scope_id = n.scope_id AND q.at > now() - interval '1 day')
      FROM named n
     CROSS JOIN LATERAL (SELECT p.dims
                           FROM placements p
                          WHERE p.tenant_id = n.tenant_id AND p.scope_id = n.scope_id
                          LIMIT 1) d
$$;
GRANT EXECUTE ON FUNCTION large_scopes(bigint) TO cairn_app;

-- What the table says and what is really there; one may lack the other after a crash, an erasure or a restore.
CREATE FUNCTION known_scope_indexes()
RETURNS TABLE (index_name text, tenant_id uuid, scope_id uuid, dims integer, state text, valid boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
    SELECT coalesce(i.index_name, x.index_name), i.tenant_id, i.scope_id, i.dims, i.state, x.valid
      FROM scope_indexes i
      FULL JOIN (SELECT c.relname::text AS index_name, d.indisvalid AS valid
                   FROM pg_index d
                   JOIN pg_class c ON c.oid = d.indexrelid
                  WHERE d.indrelid = 'placements'::regclass AND c.relname LIKE 'placements\_near\_%') x
        ON x.index_name = i.index_name
     ORDER BY 1
$$;
GRANT EXECUTE ON FUNCTION known_scope_indexes() TO cairn_app;
