-- Tenants, and the stamps that prove an answer fresh.
--
-- Every table with a tenant_id is under row security with one bare equality, failing closed when no tenant
-- is set. It is not FORCEd: cairn_owner owns everything and serves migrations, backups and the few SECURITY
-- DEFINER functions; the server itself acts as cairn_app, which row security binds.

GRANT USAGE ON SCHEMA cairn TO cairn_app;
GRANT SELECT ON _sqlx_migrations TO cairn_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA cairn GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO cairn_app;
-- Without IN SCHEMA: a schema's defaults can only add to the global ones.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- After a transaction that set it, the setting reads as an empty text, not as NULL.
CREATE FUNCTION current_tenant() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('cairn.tenant', true), '')::uuid;
GRANT EXECUTE ON FUNCTION current_tenant() TO cairn_app;

CREATE TABLE tenants (
    tenant_id          uuid NOT NULL,
    name               text NOT NULL,
    status             text NOT NULL DEFAULT 'active',
    -- The scope of what concerns the whole tenant: settings, embedding model, ranking.
    scope_id           uuid NOT NULL,
    -- The model, revision and dimensions that this tenant's vectors were made with.
    embedding_pin      text NOT NULL,
    auto_create_agents boolean NOT NULL DEFAULT true,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenants_pkey PRIMARY KEY (tenant_id),
    -- The one uniqueness that spans tenants: only an operator creates them.
    CONSTRAINT tenants_name_key UNIQUE (name),
    CONSTRAINT tenants_status_check CHECK (status IN ('active', 'suspended', 'erasing'))
);
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenants_isolation ON tenants USING (tenant_id = current_tenant());

-- n counts the commits of a scope (its row lock puts them in order); tag is a fresh random value at every
-- commit and is what gets compared, so that a restored backup cannot repeat one. The table has no other
-- index and half-empty pages, so that an update stays on its page. A missing row means "do not cache".
CREATE TABLE scope_epochs (
    tenant_id uuid   NOT NULL,
    scope_id  uuid   NOT NULL,
    n         bigint NOT NULL DEFAULT 0,
    tag       uuid   NOT NULL,
    -- Removals up to this n have been purged: whoever is older must read everything again.
    floor_n   bigint NOT NULL DEFAULT 0,
    CONSTRAINT scope_epochs_pkey PRIMARY KEY (tenant_id, scope_id)
) WITH (fillfactor = 50);
ALTER TABLE scope_epochs ENABLE ROW LEVEL SECURITY;
CREATE POLICY scope_epochs_isolation ON scope_epochs USING (tenant_id = current_tenant());

-- Secrets of a tenant, sealed with the operator's key. `cache` keys and seals what Redis holds.
CREATE TABLE tenant_secrets (
    tenant_id  uuid        NOT NULL,
    purpose    text        NOT NULL,
    version    integer     NOT NULL,
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_secrets_pkey PRIMARY KEY (tenant_id, purpose, version),
    CONSTRAINT tenant_secrets_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id)
);
ALTER TABLE tenant_secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_secrets_isolation ON tenant_secrets USING (tenant_id = current_tenant());

-- Secrets of the installation, the same for all instances: the cursor key now, signing keys later.
CREATE TABLE server_secrets (
    purpose    text        NOT NULL,
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT server_secrets_pkey PRIMARY KEY (purpose)
);
