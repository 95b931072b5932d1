-- What an answer that was found in memory ends with: the proof of it and the contents, in one round trip.
--
-- STABLE makes it one snapshot: each statement in here sees what the calling statement does. It has its caller's
-- rights and no others, so that row security compares every row with the tenant set in its first line, which lasts as
-- long as the call. Somebody who may not see a memory, or asks for one that is gone, gets the proof without it. Of the
-- circles that a memory is shared with, those are named whose scopes are among `named`. When the next memory expires
-- is known where the answer was found.
CREATE FUNCTION recalled(asked_tenant uuid, asker_scope uuid, searched uuid[], named uuid[], wanted uuid[])
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
                   LEFT JOIN scope_epochs e ON e.tenant_id = asked_tenant AND e.scope_id = s.scope_id
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
                   JOIN memories m ON m.tenant_id = asked_tenant AND m.memory_id = w.memory_id
                   JOIN agents a ON a.tenant_id = m.tenant_id AND a.agent_uid = m.agent_uid
                  WHERE m.expires_at IS NULL OR m.expires_at > statement_timestamp()) AS m ON true;
END
$$;
GRANT EXECUTE ON FUNCTION recalled(uuid, uuid, uuid[], uuid[], uuid[]) TO cairn_app;
