-- What a tenant may call for, and what it wants of warm-ups; and the gate, which says so with everything else.

ALTER TABLE tenants
    -- NULL: what the server is configured for.
    ADD COLUMN quota_requests_per_second         integer,
    ADD COLUMN quota_concurrent_requests         integer,
    ADD COLUMN quota_embedding_tokens_per_minute integer,
    -- Whether the text of frequent recalls may be kept, sealed, so that warm-ups can ask it again.
    ADD COLUMN keep_queries boolean NOT NULL DEFAULT false,
    -- Whether what is asked most is computed anew after a change, before somebody asks.
    ADD COLUMN rewarm       boolean NOT NULL DEFAULT true,
    ADD CONSTRAINT tenants_call_quotas_check CHECK (
        quota_requests_per_second > 0 AND quota_concurrent_requests > 0 AND quota_embedding_tokens_per_minute > 0);

-- The gate by a name of its own, for its rows have grown: `gate` stays for servers of the version before. Without a
-- circle in the path, the first is asked, which does not look for one.
CREATE FUNCTION pass_gate(presented_key uuid, presented_tenant uuid, signed_by uuid, narrowed_to uuid, subject text)
RETURNS TABLE (
    tenant_id          uuid,
    tenant_status      text,
    tenant_tag         uuid,
    embedding_pin      text,
    auto_create_agents boolean,
    tokens_valid_from  timestamptz,
    cache_secret       integer,
    secret_hash        bytea,
    scopes             text[],
    key_live           boolean,
    signer             bytea,
    bound_uid          uuid,
    bound_id           text,
    agent_uid          uuid,
    agent_tag          uuid,
    circle_ids         text[],
    circle_roles       text[],
    circle_contents    uuid[],
    circle_tags        uuid[],
    requests_per_second integer,
    concurrent_requests integer,
    tokens_per_minute  integer,
    keep_queries       boolean,
    rewarm             boolean,
    checked_at         timestamptz,
    postmaster_started timestamptz
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY
    SELECT t.tenant_id,
           t.status,
           te.tag,
           t.embedding_pin,
           t.auto_create_agents,
           t.tokens_valid_from,
           (SELECT max(s.version) FROM tenant_secrets s WHERE s.tenant_id = t.tenant_id AND s.purpose = 'cache'),
           k.secret_hash,
           k.scopes,
           k.live,
           (SELECT g.public_key
              FROM signing_keys g
             WHERE g.signing_key_id = signed_by
               AND (g.retires_at IS NULL OR g.retires_at > statement_timestamp())),
           b.agent_uid,
           b.agent_id,
           a.agent_uid,
           ae.tag,
           c.ids,
           c.roles,
           c.contents,
           c.tags,
           t.quota_requests_per_second,
           t.quota_concurrent_requests,
           t.quota_embedding_tokens_per_minute,
           t.keep_queries,
           t.rewarm,
           statement_timestamp(),
           pg_postmaster_start_time()
      FROM (SELECT o.tenant_id, o.secret_hash, o.scopes, o.agent_uid,
                   o.revoked_at IS NULL AND (o.expires_at IS NULL OR o.expires_at > statement_timestamp()) AS live
              FROM api_keys o
             WHERE o.key_id = presented_key
             UNION ALL
            SELECT presented_tenant, NULL, NULL, NULL, NULL
             WHERE presented_key IS NULL) k
      JOIN tenants t ON t.tenant_id = k.tenant_id
      LEFT JOIN scope_epochs te ON te.tenant_id = t.tenant_id AND te.scope_id = t.scope_id
      LEFT JOIN agents b ON b.tenant_id = t.tenant_id AND b.agent_uid = coalesce(k.agent_uid, narrowed_to)
      LEFT JOIN agents a ON a.tenant_id = t.tenant_id AND a.agent_id = coalesce(subject, b.agent_id)
      LEFT JOIN scope_epochs ae ON ae.tenant_id = a.tenant_id AND ae.scope_id = a.agent_uid
      LEFT JOIN LATERAL (
           SELECT array_agg(m.circle_id ORDER BY m.circle_id) AS ids,
                  array_agg(m.role ORDER BY m.circle_id) AS roles,
                  array_agg(m.content_scope ORDER BY m.circle_id) AS contents,
                  array_agg(ce.tag ORDER BY m.circle_id) AS tags
             FROM circle_members m
             LEFT JOIN scope_epochs ce ON ce.tenant_id = m.tenant_id AND ce.scope_id = m.content_scope
            WHERE m.tenant_id = a.tenant_id AND m.agent_uid = a.agent_uid
      ) c ON true;
END
$$;
GRANT EXECUTE ON FUNCTION pass_gate(uuid, uuid, uuid, uuid, text) TO cairn_app;

CREATE FUNCTION pass_gate(
    presented_key uuid, presented_tenant uuid, signed_by uuid, narrowed_to uuid, subject text, wanted_circle text
)
RETURNS TABLE (
    tenant_id          uuid,
    tenant_status      text,
    tenant_tag         uuid,
    embedding_pin      text,
    auto_create_agents boolean,
    tokens_valid_from  timestamptz,
    cache_secret       integer,
    secret_hash        bytea,
    scopes             text[],
    key_live           boolean,
    signer             bytea,
    bound_uid          uuid,
    bound_id           text,
    agent_uid          uuid,
    agent_tag          uuid,
    circle_ids         text[],
    circle_roles       text[],
    circle_contents    uuid[],
    circle_tags        uuid[],
    path_circle        uuid,
    path_content       uuid,
    path_board         uuid,
    path_content_tag   uuid,
    path_board_tag     uuid,
    requests_per_second integer,
    concurrent_requests integer,
    tokens_per_minute  integer,
    keep_queries       boolean,
    rewarm             boolean,
    checked_at         timestamptz,
    postmaster_started timestamptz
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY
    SELECT t.tenant_id,
           t.status,
           te.tag,
           t.embedding_pin,
           t.auto_create_agents,
           t.tokens_valid_from,
           (SELECT max(s.version) FROM tenant_secrets s WHERE s.tenant_id = t.tenant_id AND s.purpose = 'cache'),
           k.secret_hash,
           k.scopes,
           k.live,
           (SELECT g.public_key
              FROM signing_keys g
             WHERE g.signing_key_id = signed_by
               AND (g.retires_at IS NULL OR g.retires_at > statement_timestamp())),
           b.agent_uid,
           b.agent_id,
           a.agent_uid,
           ae.tag,
           c.ids,
           c.roles,
           c.contents,
           c.tags,
           p.circle_uid,
           p.content_scope,
           p.board_scope,
           p.content_tag,
           p.board_tag,
           t.quota_requests_per_second,
           t.quota_concurrent_requests,
           t.quota_embedding_tokens_per_minute,
           t.keep_queries,
           t.rewarm,
           statement_timestamp(),
           pg_postmaster_start_time()
      FROM (SELECT o.tenant_id, o.secret_hash, o.scopes, o.agent_uid,
                   o.revoked_at IS NULL AND (o.expires_at IS NULL OR o.expires_at > statement_timestamp()) AS live
              FROM api_keys o
             WHERE o.key_id = presented_key
             UNION ALL
            SELECT presented_tenant, NULL, NULL, NULL, NULL
             WHERE presented_key IS NULL) k
      JOIN tenants t ON t.tenant_id = k.tenant_id
      LEFT JOIN scope_epochs te ON te.tenant_id = t.tenant_id AND te.scope_id = t.scope_id
      LEFT JOIN agents b ON b.tenant_id = t.tenant_id AND b.agent_uid = coalesce(k.agent_uid, narrowed_to)
      LEFT JOIN agents a ON a.tenant_id = t.tenant_id AND a.agent_id = coalesce(subject, b.agent_id)
      LEFT JOIN scope_epochs ae ON ae.tenant_id = a.tenant_id AND ae.scope_id = a.agent_uid
      LEFT JOIN LATERAL (
           SELECT array_agg(m.circle_id ORDER BY m.circle_id) AS ids,
                  array_agg(m.role ORDER BY m.circle_id) AS roles,
                  array_agg(m.content_scope ORDER BY m.circle_id) AS contents,
                  array_agg(ce.tag ORDER BY m.circle_id) AS tags
             FROM circle_members m
             LEFT JOIN scope_epochs ce ON ce.tenant_id = m.tenant_id AND ce.scope_id = m.content_scope
            WHERE m.tenant_id = a.tenant_id AND m.agent_uid = a.agent_uid
      ) c ON true
      LEFT JOIN LATERAL (
           SELECT w.circle_uid, w.content_scope, w.board_scope, wc.tag AS content_tag, wb.tag AS board_tag
             FROM circles w
             LEFT JOIN scope_epochs wc ON wc.tenant_id = w.tenant_id AND wc.scope_id = w.content_scope
             LEFT JOIN scope_epochs wb ON wb.tenant_id = w.tenant_id AND wb.scope_id = w.board_scope
            WHERE w.tenant_id = t.tenant_id AND w.circle_id = wanted_circle
      ) p ON true;
END
$$;
GRANT EXECUTE ON FUNCTION pass_gate(uuid, uuid, uuid, uuid, text, text) TO cairn_app;

-- For the operator: a page of tenants in the order of their ids, with all of their quotas.
CREATE FUNCTION platform_tenants(after uuid, most bigint)
RETURNS TABLE (tenant_id uuid, name text, status text, embedding_pin text, version integer,
               quota_memories bigint, quota_bytes bigint, quota_requests_per_second integer,
               quota_concurrent_requests integer, quota_embedding_tokens_per_minute integer,
               created_at timestamptz, updated_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
    SELECT t.tenant_id, t.name, t.status, t.embedding_pin, t.version,
           t.quota_memories, t.quota_bytes, t.quota_requests_per_second,
           t.quota_concurrent_requests, t.quota_embedding_tokens_per_minute,
           t.created_at, t.updated_at
      FROM tenants t
     WHERE t.tenant_id <> 'ffffffff-ffff-ffff-ffff-ffffffffffff' AND (after IS NULL OR t.tenant_id > after)
     ORDER BY t.tenant_id
     LIMIT most
$$;
GRANT EXECUTE ON FUNCTION platform_tenants(uuid, bigint) TO cairn_app;
