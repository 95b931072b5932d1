-- Memories, once each, and their placements: one row for every scope a memory is visible in.

CREATE TABLE memories (
    tenant_id    uuid             NOT NULL,
    memory_id    uuid             NOT NULL,
    agent_uid    uuid             NOT NULL,
    content      text             NOT NULL,
    -- SHA-256 of the content: finds an equal memory of the same agent.
    content_hash bytea            NOT NULL,
    kind         text             NOT NULL,
    key          text COLLATE "C",
    tags         text[]           NOT NULL,
    importance   double precision NOT NULL,
    metadata     jsonb            NOT NULL,
    speaker      text,
    source_type  text,
    source_id    text,
    source_seq   bigint,
    occurred_at  timestamptz,
    expires_at   timestamptz,
    created_at   timestamptz      NOT NULL DEFAULT now(),
    updated_at   timestamptz      NOT NULL DEFAULT now(),
    version      integer          NOT NULL DEFAULT 1,
    CONSTRAINT memories_pkey PRIMARY KEY (tenant_id, memory_id),
    CONSTRAINT memories_key_key UNIQUE (tenant_id, agent_uid, key),
    CONSTRAINT memories_agent_fkey FOREIGN KEY (tenant_id, agent_uid) REFERENCES agents (tenant_id, agent_uid),
    CONSTRAINT memories_kind_check CHECK
        (kind IN ('fact', 'preference', 'context', 'decision', 'error', 'feedback', 'learning', 'event')),
    CONSTRAINT memories_importance_check CHECK (importance BETWEEN 0 AND 1),
    CONSTRAINT memories_source_check CHECK ((source_type IS NULL) = (source_id IS NULL))
);
CREATE INDEX memories_content_idx ON memories (tenant_id, agent_uid, content_hash);
-- Newest first, page by page.
CREATE INDEX memories_newest_idx ON memories (tenant_id, agent_uid, created_at, memory_id);
CREATE INDEX memories_expiry_idx ON memories (tenant_id, expires_at) WHERE expires_at IS NOT NULL;
ALTER TABLE memories ENABLE ROW LEVEL SECURITY;
CREATE POLICY memories_isolation ON memories USING (tenant_id = current_tenant());

-- The semantic side: a row for each scope and window of a memory. n is the scope's commit that wrote the row.
-- The vector stays in line and uncompressed: it is read for every recall of its scope.
CREATE TABLE placements (
    tenant_id  uuid        NOT NULL,
    scope_id   uuid        NOT NULL,
    memory_id  uuid        NOT NULL,
    window_no  smallint    NOT NULL,
    n          bigint      NOT NULL,
    dims       integer     NOT NULL,
    expires_at timestamptz,
    embedding  halfvec     NOT NULL,
    CONSTRAINT placements_pkey PRIMARY KEY (tenant_id, scope_id, memory_id, window_no),
    CONSTRAINT placements_memory_fkey FOREIGN KEY (tenant_id, memory_id) REFERENCES memories (tenant_id, memory_id)
) WITH (autovacuum_vacuum_insert_threshold = 1000, autovacuum_vacuum_insert_scale_factor = 0.01);
ALTER TABLE placements ALTER COLUMN embedding SET STORAGE PLAIN;
-- Recall of a scope reads this index alone. A b-tree row holds 2,704 bytes, which 1,280 dimensions fill; the
-- query repeats the literal. Longer vectors are read from the heap, in line.
CREATE INDEX placements_scope_idx ON placements (tenant_id, scope_id)
    INCLUDE (memory_id, expires_at, n, embedding) WHERE dims <= 1280;
ALTER TABLE placements ENABLE ROW LEVEL SECURITY;
CREATE POLICY placements_isolation ON placements USING (tenant_id = current_tenant());

-- The lexical side and the fact of being visible: one row for each scope of a memory. terms holds the hash of
-- every indexed word, repeats included, in ascending order.
CREATE TABLE placement_terms (
    tenant_id  uuid        NOT NULL,
    scope_id   uuid        NOT NULL,
    memory_id  uuid        NOT NULL,
    n          bigint      NOT NULL,
    expires_at timestamptz,
    -- Who shared it into this scope, and when; NULL in the author's own scope.
    shared_by  uuid,
    shared_at  timestamptz,
    terms      integer[]   NOT NULL,
    CONSTRAINT placement_terms_pkey PRIMARY KEY (tenant_id, scope_id, memory_id),
    CONSTRAINT placement_terms_memory_fkey FOREIGN KEY (tenant_id, memory_id) REFERENCES memories (tenant_id, memory_id)
) WITH (autovacuum_vacuum_insert_threshold = 1000, autovacuum_vacuum_insert_scale_factor = 0.01);
CREATE INDEX placement_terms_memory_idx ON placement_terms (tenant_id, memory_id);
ALTER TABLE placement_terms ENABLE ROW LEVEL SECURITY;
CREATE POLICY placement_terms_isolation ON placement_terms USING (tenant_id = current_tenant());

-- What left a scope, by the commit that removed it: lets an index of the scope catch up.
CREATE TABLE scope_removals (
    tenant_id  uuid   NOT NULL,
    scope_id   uuid   NOT NULL,
    n          bigint NOT NULL,
    memory_id  uuid   NOT NULL,
    CONSTRAINT scope_removals_pkey PRIMARY KEY (tenant_id, scope_id, n, memory_id)
);
ALTER TABLE scope_removals ENABLE ROW LEVEL SECURITY;
CREATE POLICY scope_removals_isolation ON scope_removals USING (tenant_id = current_tenant());
