-- What memories said before, and that some were forgotten.

-- Who wrote the current version. written_version tells whether written_by is about it: a release that does not know
-- these columns raises version alone.
ALTER TABLE memories
    ADD COLUMN written_by      text,
    ADD COLUMN written_version integer;

-- The versions that were replaced; the current one is the memory itself, so that remembering writes nothing here.
-- The cascade is on purpose: no release and no path can forget a memory and leave what it said.
CREATE TABLE memory_history (
    tenant_id   uuid             NOT NULL,
    memory_id   uuid             NOT NULL,
    version     integer          NOT NULL,
    written_at  timestamptz      NOT NULL,
    written_by  text,
    content     text             NOT NULL,
    kind        text             NOT NULL,
    key         text COLLATE "C",
    tags        text[]           NOT NULL,
    importance  double precision NOT NULL,
    metadata    jsonb            NOT NULL,
    speaker     text,
    source_type text,
    source_id   text,
    source_seq  bigint,
    occurred_at timestamptz,
    expires_at  timestamptz,
    CONSTRAINT memory_history_pkey PRIMARY KEY (tenant_id, memory_id, version),
    CONSTRAINT memory_history_memory_fkey FOREIGN KEY (tenant_id, memory_id)
        REFERENCES memories (tenant_id, memory_id) ON DELETE CASCADE
);
ALTER TABLE memory_history ENABLE ROW LEVEL SECURITY;
CREATE POLICY memory_history_isolation ON memory_history USING (tenant_id = current_tenant());

-- All that remains of a memory that was forgotten: that it was, when, by whom. The author's incarnation may be gone.
CREATE TABLE forgotten_memories (
    tenant_id    uuid        NOT NULL,
    memory_id    uuid        NOT NULL,
    agent_uid    uuid        NOT NULL,
    forgotten_at timestamptz NOT NULL DEFAULT now(),
    forgotten_by text        NOT NULL,
    CONSTRAINT forgotten_memories_pkey PRIMARY KEY (tenant_id, memory_id)
);
ALTER TABLE forgotten_memories ENABLE ROW LEVEL SECURITY;
CREATE POLICY forgotten_memories_isolation ON forgotten_memories USING (tenant_id = current_tenant());
