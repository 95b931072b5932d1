-- Who may call, who remembers, and who shares with whom.

-- An agent's uid is one incarnation and also the id of its private scope; agent_id is the caller's name for it.
CREATE TABLE agents (
    tenant_id  uuid        NOT NULL,
    agent_uid  uuid        NOT NULL,
    agent_id   text COLLATE "C" NOT NULL,
    name       text,
    metadata   jsonb       NOT NULL DEFAULT '{}',
    version    integer     NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agents_pkey PRIMARY KEY (tenant_id, agent_uid),
    CONSTRAINT agents_id_key UNIQUE (tenant_id, agent_id),
    CONSTRAINT agents_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id)
);
ALTER TABLE agents ENABLE ROW LEVEL SECURITY;
CREATE POLICY agents_isolation ON agents USING (tenant_id = current_tenant());

-- A key is found by its public id alone, before its tenant is known; hence the second, plain index.
CREATE TABLE api_keys (
    tenant_id    uuid        NOT NULL,
    key_id       uuid        NOT NULL,
    name         text        NOT NULL,
    secret_hash  bytea       NOT NULL,
    scopes       text[]      NOT NULL,
    -- The agent this key acts as; NULL: a trusted back end that acts for any agent of the tenant.
    agent_uid    uuid,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (tenant_id, key_id),
    CONSTRAINT api_keys_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id),
    CONSTRAINT api_keys_agent_fkey FOREIGN KEY (tenant_id, agent_uid) REFERENCES agents (tenant_id, agent_uid),
    CONSTRAINT api_keys_secret_check CHECK (octet_length(secret_hash) = 32)
);
CREATE INDEX api_keys_key_id_idx ON api_keys (key_id);
CREATE INDEX api_keys_agent_idx ON api_keys (tenant_id, agent_uid) WHERE agent_uid IS NOT NULL;
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY api_keys_isolation ON api_keys USING (tenant_id = current_tenant());

-- A circle has two scopes, so that a busy task board does not make everyone's recall stale:
-- content is what recall reads, board what the circle's context adds (members, tasks, settings).
CREATE TABLE circles (
    tenant_id     uuid        NOT NULL,
    circle_uid    uuid        NOT NULL,
    circle_id     text COLLATE "C" NOT NULL,
    name          text        NOT NULL,
    purpose       text,
    metadata      jsonb       NOT NULL DEFAULT '{}',
    content_scope uuid        NOT NULL,
    board_scope   uuid        NOT NULL,
    version       integer     NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT circles_pkey PRIMARY KEY (tenant_id, circle_uid),
    CONSTRAINT circles_id_key UNIQUE (tenant_id, circle_id),
    CONSTRAINT circles_content_scope_key UNIQUE (tenant_id, content_scope),
    -- What members carry a copy of; none of it ever changes.
    CONSTRAINT circles_copied_key UNIQUE (tenant_id, circle_uid, circle_id, content_scope),
    CONSTRAINT circles_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id)
);
ALTER TABLE circles ENABLE ROW LEVEL SECURITY;
CREATE POLICY circles_isolation ON circles USING (tenant_id = current_tenant());

-- Read from the agent's side by the gate, at every call, which is why a row carries the circle's name and
-- content scope: the gate then needs no row of circles. Read from the circle's side by its routes.
CREATE TABLE circle_members (
    tenant_id     uuid        NOT NULL,
    agent_uid     uuid        NOT NULL,
    circle_uid    uuid        NOT NULL,
    role          text        NOT NULL,
    circle_id     text COLLATE "C" NOT NULL,
    content_scope uuid        NOT NULL,
    joined_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT circle_members_pkey PRIMARY KEY (tenant_id, agent_uid, circle_uid),
    CONSTRAINT circle_members_agent_fkey FOREIGN KEY (tenant_id, agent_uid) REFERENCES agents (tenant_id, agent_uid),
    CONSTRAINT circle_members_circle_fkey FOREIGN KEY (tenant_id, circle_uid, circle_id, content_scope)
        REFERENCES circles (tenant_id, circle_uid, circle_id, content_scope),
    CONSTRAINT circle_members_role_check CHECK (role IN ('owner', 'editor', 'reader'))
);
CREATE INDEX circle_members_circle_idx ON circle_members (tenant_id, circle_uid);
ALTER TABLE circle_members ENABLE ROW LEVEL SECURITY;
CREATE POLICY circle_members_isolation ON circle_members USING (tenant_id = current_tenant());
