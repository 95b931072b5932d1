-- What was called and what the caches did, minute by minute, added up over all instances; hours and days are made of
-- minutes, so that a window of months stays cheap. Counts and ids, no content.

-- Of a kind and a layer.
CREATE TABLE usage_layers (
    tenant_id   uuid        NOT NULL,
    grain       text        NOT NULL,
    at          timestamptz NOT NULL,
    kind        text        NOT NULL,
    layer       text        NOT NULL,
    hits        bigint      NOT NULL,
    misses      bigint      NOT NULL,
    stale       bigint      NOT NULL,
    evictions   bigint      NOT NULL,
    expirations bigint      NOT NULL,
    errors      bigint      NOT NULL,
    CONSTRAINT usage_layers_pkey PRIMARY KEY (tenant_id, grain, at, kind, layer),
    CONSTRAINT usage_layers_grain_check CHECK (grain IN ('minute', 'hour', 'day'))
);
ALTER TABLE usage_layers ENABLE ROW LEVEL SECURITY;
CREATE POLICY usage_layers_isolation ON usage_layers USING (tenant_id = current_tenant());

-- Of a kind in all layers.
CREATE TABLE usage_kinds (
    tenant_id           uuid        NOT NULL,
    grain               text        NOT NULL,
    at                  timestamptz NOT NULL,
    kind                text        NOT NULL,
    shared_computations bigint      NOT NULL,
    saved_calls         bigint      NOT NULL,
    saved_tokens        bigint      NOT NULL,
    saved_micros        bigint      NOT NULL,
    spent_calls         bigint      NOT NULL,
    spent_tokens        bigint      NOT NULL,
    unchanged_misses    bigint      NOT NULL,
    evicted_returns     bigint      NOT NULL,
    removed             bigint      NOT NULL,
    removed_unused      bigint      NOT NULL,
    -- How often an instance looked at what it held; the bytes are the sums of what it saw.
    samples             bigint      NOT NULL,
    held_bytes          bigint      NOT NULL,
    unused_bytes        bigint      NOT NULL,
    -- Of entries that had been hit: how long from the change that made them worthless to the next hit.
    again_100ms         bigint      NOT NULL,
    again_1s            bigint      NOT NULL,
    again_10s           bigint      NOT NULL,
    again_1m            bigint      NOT NULL,
    again_10m           bigint      NOT NULL,
    again_later         bigint      NOT NULL,
    again_longest_ms    bigint      NOT NULL,
    CONSTRAINT usage_kinds_pkey PRIMARY KEY (tenant_id, grain, at, kind),
    CONSTRAINT usage_kinds_grain_check CHECK (grain IN ('minute', 'hour', 'day'))
);
ALTER TABLE usage_kinds ENABLE ROW LEVEL SECURITY;
CREATE POLICY usage_kinds_isolation ON usage_kinds USING (tenant_id = current_tenant());

-- Recalls by the agent that asked. The nil agent is all that are not told apart, and those that no agent asked.
CREATE TABLE usage_agents (
    tenant_id uuid        NOT NULL,
    grain     text        NOT NULL,
    at        timestamptz NOT NULL,
    agent_uid uuid        NOT NULL,
    recalls   bigint      NOT NULL,
    hits      bigint      NOT NULL,
    CONSTRAINT usage_agents_pkey PRIMARY KEY (tenant_id, grain, at, agent_uid),
    CONSTRAINT usage_agents_grain_check CHECK (grain IN ('minute', 'hour', 'day'))
);
CREATE INDEX usage_agents_agent_idx ON usage_agents (tenant_id, agent_uid, grain, at);
ALTER TABLE usage_agents ENABLE ROW LEVEL SECURITY;
CREATE POLICY usage_agents_isolation ON usage_agents USING (tenant_id = current_tenant());

-- Changes of a scope, and how many cached entries they made worthless. The nil scope is all that are not told apart.
CREATE TABLE usage_scopes (
    tenant_id uuid        NOT NULL,
    grain     text        NOT NULL,
    at        timestamptz NOT NULL,
    scope_id  uuid        NOT NULL,
    changes   bigint      NOT NULL,
    entries   bigint      NOT NULL,
    CONSTRAINT usage_scopes_pkey PRIMARY KEY (tenant_id, grain, at, scope_id),
    CONSTRAINT usage_scopes_grain_check CHECK (grain IN ('minute', 'hour', 'day'))
);
CREATE INDEX usage_scopes_scope_idx ON usage_scopes (tenant_id, scope_id);
ALTER TABLE usage_scopes ENABLE ROW LEVEL SECURITY;
CREATE POLICY usage_scopes_isolation ON usage_scopes USING (tenant_id = current_tenant());

-- Frequent recalls of the last day, by hour: of an agent, or of a circle by its content scope. What was asked is a keyed
-- hash; the request itself is there, sealed with the operator's key, only where the tenant's setting keep_queries wants
-- it.
CREATE TABLE usage_queries (
    tenant_id uuid        NOT NULL,
    at        timestamptz NOT NULL,
    scope_id  uuid        NOT NULL,
    digest    bytea       NOT NULL,
    recalls   bigint      NOT NULL,
    hits      bigint      NOT NULL,
    sealed    bytea,
    CONSTRAINT usage_queries_pkey PRIMARY KEY (tenant_id, at, scope_id, digest),
    CONSTRAINT usage_queries_digest_check CHECK (octet_length(digest) = 24)
);
CREATE INDEX usage_queries_scope_idx ON usage_queries (tenant_id, scope_id, at);
ALTER TABLE usage_queries ENABLE ROW LEVEL SECURITY;
CREATE POLICY usage_queries_isolation ON usage_queries USING (tenant_id = current_tenant());

-- What a tenant stored at the end of a day, counted soon after.
CREATE TABLE usage_days (
    tenant_id  uuid        NOT NULL,
    day        date        NOT NULL,
    agents     bigint      NOT NULL,
    memories   bigint      NOT NULL,
    bytes      bigint      NOT NULL,
    counted_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_days_pkey PRIMARY KEY (tenant_id, day)
);
ALTER TABLE usage_days ENABLE ROW LEVEL SECURITY;
CREATE POLICY usage_days_isolation ON usage_days USING (tenant_id = current_tenant());

-- For the roll-up: the tenants there are.
CREATE FUNCTION usage_tenants() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
    SELECT t.tenant_id
      FROM tenants t
     WHERE t.tenant_id <> 'ffffffff-ffff-ffff-ffff-ffffffffffff' AND t.status <> 'erasing'
     ORDER BY t.tenant_id
$$;
GRANT EXECUTE ON FUNCTION usage_tenants() TO cairn_app;
