-- Threads: a memory that says where in a conversation it stands is also found by what was said next to it. A thread is
-- a source on one day (UTC); its key is made by `memories::Thread`, and here for what is stored already.
ALTER TABLE placement_terms
    ADD COLUMN thread bigint,
    ADD COLUMN seq    bigint,
    ADD CONSTRAINT placement_terms_thread_check CHECK ((thread IS NULL) = (seq IS NULL));

UPDATE placement_terms p
   SET thread = ('x' || encode(substring(sha256(convert_to(
           m.source_type || E'\x1f' || m.source_id || E'\x1f'
           || coalesce(floor(extract(epoch FROM m.occurred_at) / 86400)::bigint::text, ''), 'UTF8'
       )) FOR 8), 'hex'))::bit(64)::bigint,
       seq = m.source_seq
  FROM memories m
 WHERE m.tenant_id = p.tenant_id AND m.memory_id = p.memory_id AND m.source_seq IS NOT NULL;

-- What the lexical side reads, now with the threads. A b-tree row holds 2,704 bytes, which 600 words still fit into.
CREATE INDEX placement_terms_lines_idx ON placement_terms (tenant_id, scope_id)
    INCLUDE (memory_id, expires_at, thread, seq, terms) WHERE cardinality(terms) <= 600;
DROP INDEX placement_terms_scope_idx;
