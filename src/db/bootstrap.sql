-- What must exist before the first migration, made by the login that runs `cairn migrate`.
-- Roles belong to the whole cluster, so another database may have made them already.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cairn_owner') THEN
        CREATE ROLE cairn_owner NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cairn_app') THEN
        CREATE ROLE cairn_app NOLOGIN;
    END IF;
EXCEPTION
    -- Two databases of one cluster set up at the same moment: the other one made them.
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'cairn_owner', 'MEMBER') THEN
        EXECUTE format('GRANT cairn_owner TO %I', current_user);
    END IF;
    IF NOT pg_has_role(current_user, 'cairn_app', 'MEMBER') THEN
        EXECUTE format('GRANT cairn_app TO %I', current_user);
    END IF;
END
$$;

CREATE EXTENSION IF NOT EXISTS vector;
CREATE SCHEMA IF NOT EXISTS cairn AUTHORIZATION cairn_owner;
