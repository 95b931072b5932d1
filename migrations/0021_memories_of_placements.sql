-- Forgetting a memory asks whether a placement still refers to it. Without an index that begins with these columns,
-- that read an entry for each scope of the tenant, or all of them: of a tenant with ten thousand agents, erasing five
-- hundred memories took longer than a statement may.
CREATE INDEX placements_memory_idx ON placements (tenant_id, memory_id);
