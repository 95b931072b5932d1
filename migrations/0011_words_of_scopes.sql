-- The lexical side of a recall reads these alone, and no table. A b-tree row holds 2,704 bytes, which 600 words fit
-- into; the query repeats the literal. Longer memories are few, and read from the table.
CREATE INDEX placement_terms_scope_idx ON placement_terms (tenant_id, scope_id)
    INCLUDE (memory_id, expires_at, terms) WHERE cardinality(terms) <= 600;
CREATE INDEX placement_terms_long_idx ON placement_terms (tenant_id, scope_id)
    WHERE cardinality(terms) > 600;
