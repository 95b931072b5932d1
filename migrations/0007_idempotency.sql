-- What writes sent with an Idempotency-Key came to, so that sending one again has no second effect.
--
-- A row is written in the transaction of its effect. It holds keyed hashes and what the answer can be made of anew:
-- no key, no path, no body, no secret. The operator's calls are rows of the operator's own tenant.
CREATE TABLE idempotency_keys (
    tenant_id    uuid        NOT NULL,
    -- Of the header's value, the method and the path.
    request_hash bytea       NOT NULL,
    body_hash    bytea       NOT NULL,
    -- The outcome that decides the status, and the ids of what was written, or the counts of what was removed.
    receipt      jsonb       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant_id, request_hash),
    CONSTRAINT idempotency_keys_hashes_check CHECK (octet_length(request_hash) = 32 AND octet_length(body_hash) = 32)
);
-- For the purge of what is older than a day.
CREATE INDEX idempotency_keys_age_idx ON idempotency_keys (tenant_id, created_at);
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY idempotency_keys_isolation ON idempotency_keys USING (tenant_id = current_tenant());
