-- Tokens: the keys that sign them, and what the gate must know about whoever presents one. And the operator's own
-- tenant, the greatest UUID: platform keys are ordinary keys of a tenant that holds nothing else.

-- Signing keys belong to the installation. The private half is sealed with the operator's key; the public half is
-- no secret, and the gate hands it out while the key is live.
CREATE TABLE signing_keys (
    signing_key_id uuid        NOT NULL,
    public_key     bytea       NOT NULL,
    sealed         bytea       NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    -- NULL: the key that signs. One that was followed by another verifies until this moment.
    retires_at     timestamptz,
    CONSTRAINT signing_keys_pkey PRIMARY KEY (signing_key_id),
    CONSTRAINT signing_keys_public_check CHECK (octet_length(public_key) = 32)
);
-- One key signs at a time.
CREATE UNIQUE INDEX signing_keys_current_key ON signing_keys ((true)) WHERE retires_at IS NULL;

ALTER TABLE api_keys
    -- Written from batches, at most every five minutes a key.
    ADD COLUMN last_used_at timestamptz,
    -- The key that took this one's place.
    ADD COLUMN replaced_by  uuid;

-- Tokens issued before this moment are refused, whoever signed them.
ALTER TABLE tenants ADD COLUMN tokens_valid_from timestamptz;

-- The operator. Its name is one that no tenant can have, and nobody lists it.
INSERT INTO tenants (tenant_id, name, scope_id, embedding_pin)
VALUES ('ffffffff-ffff-ffff-ffff-ffffffffffff', '', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '');

CREATE OR REPLACE FUNCTION platform_tenants()
RETURNS TABLE (tenant_id uuid, name text, status text, embedding_pin text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
    SELECT t.tenant_id, t.name, t.status, t.embedding_pin, t.created_at
      FROM tenants t
     WHERE t.tenant_id <> 'ffffffff-ffff-ffff-ffff-ffffffffffff'
     ORDER BY t.name
$$;

-- The gate for all kinds of credentials. A key, or a token made from one, is found by the key's id; a token of
-- another issuer names its tenant. `signed_by` is the key id in a token's header, `narrowed_to` the agent that a
-- token was bound to. The gate with two arguments stays for servers of the version before.
CREATE FUNCTION gate(presented_key uuid, presented_tenant uuid, signed_by uuid, narrowed_to uuid, subject text)
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
GRANT EXECUTE ON FUNCTION gate(uuid, uuid, uuid, uuid, text) TO cairn_app;
