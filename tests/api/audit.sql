-- In the test database only: at commit, whoever changed what an answer is made of must have bumped the scope.
-- An update leaves the transaction's own id in xmin; a lock does not.
CREATE FUNCTION audit_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched uuid;
BEGIN
    FOR touched IN
        SELECT scope_id FROM (VALUES (CASE WHEN TG_OP <> 'INSERT' THEN OLD.scope_id END),
                                     (CASE WHEN TG_OP <> 'DELETE' THEN NEW.scope_id END)) AS rows (scope_id)
         WHERE scope_id IS NOT NULL
    LOOP
        PERFORM audit_scope(coalesce(NEW.tenant_id, OLD.tenant_id), touched, TG_TABLE_NAME || ' ' || lower(TG_OP));
    END LOOP;
    RETURN NULL;
END
$$;

CREATE FUNCTION audit_memory() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched uuid;
BEGIN
    FOR touched IN SELECT scope_id FROM placement_terms WHERE tenant_id = NEW.tenant_id AND memory_id = NEW.memory_id LOOP
        PERFORM audit_scope(NEW.tenant_id, touched, 'memories ' || lower(TG_OP));
    END LOOP;
    RETURN NULL;
END
$$;

CREATE FUNCTION audit_board() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched uuid;
BEGIN
    SELECT board_scope INTO touched FROM circles
     WHERE tenant_id = coalesce(NEW.tenant_id, OLD.tenant_id) AND circle_uid = coalesce(NEW.circle_uid, OLD.circle_uid);
    PERFORM audit_scope(coalesce(NEW.tenant_id, OLD.tenant_id), touched, TG_TABLE_NAME || ' ' || lower(TG_OP));
    RETURN NULL;
END
$$;

CREATE FUNCTION audit_scope(tenant uuid, touched uuid, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM scope_epochs e
                WHERE e.tenant_id = tenant AND e.scope_id = touched
                  AND e.xmin::text::bigint <> (pg_current_xact_id()::text::bigint & 4294967295)) THEN
        RAISE EXCEPTION 'audit: % in scope % without a new stamp', what, touched;
    END IF;
END
$$;

GRANT EXECUTE ON FUNCTION audit_stamp(), audit_memory(), audit_board(), audit_scope(uuid, uuid, text) TO cairn_app;

CREATE CONSTRAINT TRIGGER placements_audit AFTER INSERT OR UPDATE OR DELETE ON placements
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_stamp();
CREATE CONSTRAINT TRIGGER placement_terms_audit AFTER INSERT OR UPDATE OR DELETE ON placement_terms
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_stamp();
CREATE CONSTRAINT TRIGGER memories_audit AFTER INSERT OR UPDATE ON memories
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_memory();
CREATE CONSTRAINT TRIGGER tasks_audit AFTER INSERT OR UPDATE OR DELETE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_board();
