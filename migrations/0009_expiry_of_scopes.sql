-- When the next memory of a scope expires: until then a cached answer of the scope may be taken. Few memories
-- expire, so the index is small.
CREATE INDEX placement_terms_expiry_idx ON placement_terms (tenant_id, scope_id, expires_at)
    WHERE expires_at IS NOT NULL;
