-- An index in memory catches up by reading what a scope's later commits placed.
CREATE INDEX placement_terms_changes_idx ON placement_terms (tenant_id, scope_id, n);
