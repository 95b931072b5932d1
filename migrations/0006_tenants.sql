-- Tenants as their operator manages them: quotas, the totals that quotas are held against, and the end of a tenant.

ALTER TABLE tenants
    ADD COLUMN version        integer NOT NULL DEFAULT 1,
    -- NULL: no limit.
    ADD COLUMN quota_memories bigint,
    ADD COLUMN quota_bytes    bigint;

-- What a tenant with a quota stores, kept by its writers at their commit. There is a row only while a quota is in
-- force: its lock makes the tenant's writers commit one after the other.
CREATE TABLE tenant_totals (
    tenant_id uuid   NOT NULL,
    memories  bigint NOT NULL,
    -- Bytes of the contents.
    bytes     bigint NOT NULL,
    CONSTRAINT tenant_totals_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT tenant_totals_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id)
) WITH (fillfactor = 50);
ALTER TABLE tenant_totals ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_totals_isolation ON tenant_totals USING (tenant_id = current_tenant());

-- The receipt of a tenant's erasure: it outlives the tenant, so it holds no row of it, only its id and counts.
CREATE TABLE tenant_erasures (
    erased_tenant uuid        NOT NULL,
    requested_at  timestamptz NOT NULL DEFAULT now(),
    requested_by  text        NOT NULL,
    finished_at   timestamptz,
    -- Rows deleted so far, by table; moved on in the transaction that deletes them.
    counts        jsonb       NOT NULL DEFAULT '{}',
    CONSTRAINT tenant_erasures_pkey PRIMARY KEY (erased_tenant)
);

-- For the operator: a page of tenants in the order of their ids.
CREATE FUNCTION platform_tenant_page(after uuid, most bigint)
RETURNS TABLE (tenant_id uuid, name text, status text, embedding_pin text, version integer,
               quota_memories bigint, quota_bytes bigint, created_at timestamptz, updated_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
AS $$
    SELECT t.tenant_id, t.name, t.status, t.embedding_pin, t.version,
           t.quota_memories, t.quota_bytes, t.created_at, t.updated_at
      FROM tenants t
     WHERE t.tenant_id <> 'ffffffff-ffff-ffff-ffff-ffffffffffff' AND (after IS NULL OR t.tenant_id > after)
     ORDER BY t.tenant_id
     LIMIT most
$$;
GRANT EXECUTE ON FUNCTION platform_tenant_page(uuid, bigint) TO cairn_app;
