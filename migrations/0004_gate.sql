-- The SECURITY DEFINER functions: the only code that reads across tenants. They run as cairn_owner, with a
-- pinned search_path, and answer with ids, states and tags alone.

-- The gate: what a call must know before anything else, in one statement. Unknown keys give no row. `subject` is
-- the agent that the call acts as or names; without one, the agent that the key is bound to.
-- PL/pgSQL, because it keeps its plan; generic, because custom plans would be made anew five times a session; and
-- by index lookups alone, because statistics of a young installation suggest scans that age badly.
CREATE FUNCTION gate(presented_key uuid, subject text)
RETURNS TABLE (
    tenant_id          uuid,
    tenant_status      text,
    tenant_tag         uuid,
    embedding_pin      text,
    auto_create_agents boolean,
    cache_secret       integer,
    secret_hash        bytea,
    scopes             text[],
    key_live           boolean,
    bound_uid          uuid,
    bound_id           text,
    agent_uid          uuid,
    agent_tag          uuid,
    circle_ids         text[],
    circle_roles       text[],
    circle_contents    uuid[],
    circle_tags        uuid[],
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
    SELECT k.tenant_id,
           t.status,
           te.tag,
           t.embedding_pin,
           t.auto_create_agents,
           (SELECT max(s.version) FROM tenant_secrets s WHERE s.tenant_id = k.tenant_id AND s.purpose = 'cache'),
           k.secret_hash,
           k.scopes,
           k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp()),
           b.agent_uid,
           b.agent_id,
           a.agent_uid,
           ae.tag,
           c.ids,
           c.roles,
           c.contents,
           c.tags,
           statement_timestamp(),
           pg_postmaster_start_time()
      FROM api_keys k
      JOIN tenants t ON t.tenant_id = k.tenant_id
      LEFT JOIN scope_epochs te ON te.tenant_id = t.tenant_id AND te.scope_id = t.scope_id
      LEFT JOIN agents b ON b.tenant_id = k.tenant_id AND b.agent_uid = k.agent_uid
      LEFT JOIN agents a ON a.tenant_id = k.tenant_id AND a.agent_id = coalesce(subject, b.agent_id)
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
     WHERE k.key_id = presented_key;
END
$$;
GRANT EXECUTE ON FUNCTION gate(uuid, text) TO cairn_app;

-- For the operator: every tenant by name, state and embedding pin.
CREATE FUNCTION platform_tenants()
RETURNS TABLE (tenant_id uuid, name text, status text, embedding_pin text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
    SELECT t.tenant_id, t.name, t.status, t.embedding_pin, t.created_at FROM tenants t ORDER BY t.name
$$;
GRANT EXECUTE ON FUNCTION platform_tenants() TO cairn_app;

-- For `cairn key revoke`: which tenant a key belongs to.
CREATE FUNCTION platform_key_tenant(wanted_key uuid) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
    SELECT k.tenant_id FROM api_keys k WHERE k.key_id = wanted_key
$$;
GRANT EXECUTE ON FUNCTION platform_key_tenant(uuid) TO cairn_app;
