-- The same as before, each row looked up by its key. Of tables that have grown since they were last counted, Postgres
-- guessed that reading all that an agent remembers would be quicker than a handful of lookups: the first minutes of an
-- installation, or of a large import, were slow. OFFSET 0 keeps the lookups apart.
CREATE OR REPLACE FUNCTION recalled(asked_tenant uuid, asker_scope uuid, searched uuid[], named uuid[], wanted uuid[])
RETURNS TABLE (
    tenant_tag  uuid,
    agent_tag   uuid,
    tags_now    uuid[],
    now         timestamptz,
    memory_id   uuid,
    agent_id    text,
    agent_uid   uuid,
    content     text,
    kind        text,
    key         text,
    tags        text[],
    importance  double precision,
    metadata    jsonb,
    speaker     text,
    source_type text,
    source_id   text,
    source_seq  bigint,
    occurred_at timestamptz,
    expires_at  timestamptz,
    created_at  timestamptz,
    updated_at  timestamptz,
    version     integer,
    circles     text[]
)
LANGUAGE plpgsql STABLE
SET search_path = cairn, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    PERFORM set_config('cairn.tenant', asked_tenant::text, true);
    RETURN QUERY
    SELECT (SELECT e.tag
              FROM tenants t
              JOIN scope_epochs e ON e.tenant_id = t.tenant_id AND e.scope_id = t.scope_id
             WHERE t.tenant_id = asked_tenant),
           (SELECT e.tag FROM scope_epochs e WHERE e.tenant_id = asked_tenant AND e.scope_id = asker_scope),
           ARRAY(SELECT e.tag
                   FROM unnest(searched) WITH ORDINALITY AS s (scope_id, place)
                   LEFT JOIN LATERAL (SELECT o.tag
                                        FROM scope_epochs o
                                       WHERE o.tenant_id = asked_tenant AND o.scope_id = s.scope_id OFFSET 0) AS e ON true
                  ORDER BY s.place),
           statement_timestamp(),
           m.memory_id, m.agent_id, m.agent_uid, m.content, m.kind, m.key, m.tags, m.importance, m.metadata,
           m.speaker, m.source_type, m.source_id, m.source_seq, m.occurred_at, m.expires_at,
           m.created_at, m.updated_at, m.version,
           CASE WHEN cardinality(named) > 0 THEN
               ARRAY(SELECT c.circle_id
                       FROM placement_terms p
                       JOIN circles c ON c.tenant_id = p.tenant_id AND c.content_scope = p.scope_id
                      WHERE p.tenant_id = asked_tenant AND p.memory_id = m.memory_id AND p.scope_id = ANY (named)
                      ORDER BY c.circle_id)
           ELSE '{}' END
      FROM (SELECT) AS always
      LEFT JOIN (SELECT a.agent_id, m.*
                   FROM unnest(wanted) AS w (memory_id)
                  CROSS JOIN LATERAL (SELECT *
                                        FROM memories o
                                       WHERE o.tenant_id = asked_tenant AND o.memory_id = w.memory_id
                                         AND (o.expires_at IS NULL OR o.expires_at > statement_timestamp())
                                      OFFSET 0) AS m
                  CROSS JOIN LATERAL (SELECT o.agent_id
                                        FROM agents o
                                       WHERE o.tenant_id = asked_tenant AND o.agent_uid = m.agent_uid OFFSET 0) AS a
                ) AS m ON true;
END
$$;
