-- Circles at work: who shared what and until when, tasks, what happened, how often a circle is recalled; and the gate,
-- which now knows the circle of a path.

-- The audit of sharing: placement_terms says what is visible now, this says who made it so and what ended it. Rows
-- outlive the memory and its author, and so refer to neither; they hold no content.
CREATE TABLE shares (
    tenant_id  uuid        NOT NULL,
    -- Numbered in the order of time (UUIDv7).
    share_id   uuid        NOT NULL,
    circle_uid uuid        NOT NULL,
    memory_id  uuid        NOT NULL,
    -- The author, by incarnation and by name: only an author shares.
    agent_uid  uuid        NOT NULL,
    agent_id   text COLLATE "C" NOT NULL,
    kind       text        NOT NULL,
    shared_at  timestamptz NOT NULL DEFAULT now(),
    shared_by  text        NOT NULL,
    -- NULL: it is shared now.
    ended_at   timestamptz,
    ended_by   text,
    CONSTRAINT shares_pkey PRIMARY KEY (tenant_id, share_id),
    CONSTRAINT shares_circle_fkey FOREIGN KEY (tenant_id, circle_uid) REFERENCES circles (tenant_id, circle_uid)
);
CREATE UNIQUE INDEX shares_live_key ON shares (tenant_id, memory_id, circle_uid) WHERE ended_at IS NULL;
-- What was shared last, and lately.
CREATE INDEX shares_circle_idx ON shares (tenant_id, circle_uid, shared_at, share_id);
CREATE INDEX shares_ended_idx ON shares (tenant_id, circle_uid, ended_at) WHERE ended_at IS NOT NULL;
ALTER TABLE shares ENABLE ROW LEVEL SECURITY;
CREATE POLICY shares_isolation ON shares USING (tenant_id = current_tenant());

CREATE TABLE tasks (
    tenant_id  uuid        NOT NULL,
    task_id    uuid        NOT NULL,
    circle_uid uuid        NOT NULL,
    title      text        NOT NULL,
    details    text,
    state      text        NOT NULL DEFAULT 'open',
    -- Who is to do it, or does it.
    assignee   uuid,
    priority   smallint    NOT NULL,
    result     text,
    reason     text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version    integer     NOT NULL DEFAULT 1,
    CONSTRAINT tasks_pkey PRIMARY KEY (tenant_id, task_id),
    CONSTRAINT tasks_circle_fkey FOREIGN KEY (tenant_id, circle_uid) REFERENCES circles (tenant_id, circle_uid),
    CONSTRAINT tasks_assignee_fkey FOREIGN KEY (tenant_id, assignee) REFERENCES agents (tenant_id, agent_uid),
    CONSTRAINT tasks_state_check CHECK (state IN ('open', 'claimed', 'submitted', 'approved', 'cancelled')),
    CONSTRAINT tasks_claimed_check CHECK (state <> 'claimed' OR assignee IS NOT NULL),
    CONSTRAINT tasks_priority_check CHECK (priority BETWEEN 0 AND 9)
);
-- The most urgent first, of those the oldest.
CREATE INDEX tasks_board_idx ON tasks (tenant_id, circle_uid, priority DESC, task_id);
CREATE INDEX tasks_assignee_idx ON tasks (tenant_id, assignee) WHERE assignee IS NOT NULL;
ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
CREATE POLICY tasks_isolation ON tasks USING (tenant_id = current_tenant());

-- Each move of a task, the first being its creation. Who moved it is kept by name: the agent may go.
CREATE TABLE task_moves (
    tenant_id  uuid        NOT NULL,
    task_id    uuid        NOT NULL,
    move_no    integer     NOT NULL,
    moved_at   timestamptz NOT NULL DEFAULT now(),
    -- The acting agent, if any, and the credential.
    agent_id   text COLLATE "C",
    moved_by   text        NOT NULL,
    from_state text,
    to_state   text        NOT NULL,
    note       text,
    CONSTRAINT task_moves_pkey PRIMARY KEY (tenant_id, task_id, move_no),
    CONSTRAINT task_moves_task_fkey FOREIGN KEY (tenant_id, task_id) REFERENCES tasks (tenant_id, task_id)
);
ALTER TABLE task_moves ENABLE ROW LEVEL SECURITY;
CREATE POLICY task_moves_isolation ON task_moves USING (tenant_id = current_tenant());

-- What happened in a circle besides sharing: for the activity of its context and for its metrics. Ids only.
CREATE TABLE circle_events (
    tenant_id   uuid        NOT NULL,
    circle_uid  uuid        NOT NULL,
    event_id    uuid        NOT NULL,
    event       text        NOT NULL,
    happened_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT circle_events_pkey PRIMARY KEY (tenant_id, circle_uid, event_id),
    CONSTRAINT circle_events_circle_fkey FOREIGN KEY (tenant_id, circle_uid) REFERENCES circles (tenant_id, circle_uid)
);
CREATE INDEX circle_events_time_idx ON circle_events (tenant_id, circle_uid, happened_at);
ALTER TABLE circle_events ENABLE ROW LEVEL SECURITY;
CREATE POLICY circle_events_isolation ON circle_events USING (tenant_id = current_tenant());

-- How often a circle's content was searched, minute by minute; written in batches.
CREATE TABLE circle_recalls (
    tenant_id uuid        NOT NULL,
    scope_id  uuid        NOT NULL,
    minute    timestamptz NOT NULL,
    recalls   bigint      NOT NULL,
    CONSTRAINT circle_recalls_pkey PRIMARY KEY (tenant_id, scope_id, minute)
);
ALTER TABLE circle_recalls ENABLE ROW LEVEL SECURITY;
CREATE POLICY circle_recalls_isolation ON circle_recalls USING (tenant_id = current_tenant());

-- The gate with the circle of a path: its incarnation, its two scopes and their tags, whoever asks; `circle_roles` says
-- whether the agent in question is a member. The gate with five arguments stays for servers of the version before.
CREATE FUNCTION gate(
    presented_key uuid, presented_tenant uuid, signed_by uuid, narrowed_to uuid, subject text, wanted_circle text
)
RETURNS TABLE (
    tenant_id          uuid,
    tenant_status      text,
    tenant_tag         uuid,
    embedding_pin      text,
    auto_create_agents boolean,
    tokens_valid_from  timestamptz,
    cache_secret       integer,
    secret_hash        bytea,
    scopes             text[],
    key_live           boolean,
    signer             bytea,
    bound_uid          uuid,
    bound_id           text,
    agent_uid          uuid,
    agent_tag          uuid,
    circle_ids         text[],
    circle_roles       text[],
    circle_contents    uuid[],
    circle_tags        uuid[],
    path_circle        uuid,
    path_content       uuid,
    path_board         uuid,
    path_content_tag   uuid,
    path_board_tag     uuid,
    checked_at         timestamptz,
    postmaster_started timestamptz
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = cairn, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY
    SELECT t.tenant_id,
           t.status,
           te.tag,
           t.embedding_pin,
           t.auto_create_agents,
           t.tokens_valid_from,
           (SELECT max(s.version) FROM tenant_secrets s WHERE s.tenant_id = t.tenant_id AND s.purpose = 'cache'),
           k.secret_hash,
           k.scopes,
           k.live,
           (SELECT g.public_key
              FROM signing_keys g
             WHERE g.signing_key_id = signed_by
               AND (g.retires_at IS NULL OR g.retires_at > statement_timestamp())),
           b.agent_uid,
           b.agent_id,
           a.agent_uid,
           ae.tag,
           c.ids,
           c.roles,
           c.contents,
           c.tags,
           p.circle_uid,
           p.content_scope,
           p.board_scope,
           p.content_tag,
           p.board_tag,
           statement_timestamp(),
           pg_postmaster_start_time()
      FROM (SELECT o.tenant_id, o.secret_hash, o.scopes, o.agent_uid,
                   o.revoked_at IS NULL AND (o.expires_at IS NULL OR o.expires_at > statement_timestamp()) AS live
              FROM api_keys o
             WHERE o.key_id = presented_key
             UNION ALL
            SELECT presented_tenant, NULL, NULL, NULL, NULL
             WHERE presented_key IS NULL) k
      JOIN tenants t ON t.tenant_id = k.tenant_id
      LEFT JOIN scope_epochs te ON te.tenant_id = t.tenant_id AND te.scope_id = t.scope_id
      LEFT JOIN agents b ON b.tenant_id = t.tenant_id AND b.agent_uid = coalesce(k.agent_uid, narrowed_to)
      LEFT JOIN agents a ON a.tenant_id = t.tenant_id AND a.agent_id = coalesce(subject, b.agent_id)
      LEFT JOIN scope_epochs ae ON ae.tenant_id = a.tenant_id AND ae.scope_id = a.agent_uid
      LEFT JOIN LATERAL (
           SELECT array_agg(m.circle_id ORDER BY m.circle_id) AS ids,
                  array_agg(m.role ORDER BY m.circle_id) AS roles,
                  array_agg(m.content_scope ORDER BY m.circle_id) AS contents,
                  array_agg(ce.tag ORDER BY m.circle_id) AS tags
             FROM circle_members m
             LEFT JOIN scope_epochs ce ON ce.tenant_id = m.tenant_id AND ce.scope_id = m.content_scope
            WHERE m.tenant_id = a.tenant_id AND m.agent_uid = a.agent_uid
      ) c ON true
      LEFT JOIN LATERAL (
           SELECT w.circle_uid, w.content_scope, w.board_scope, wc.tag AS content_tag, wb.tag AS board_tag
             FROM circles w
             LEFT JOIN scope_epochs wc ON wc.tenant_id = w.tenant_id AND wc.scope_id = w.content_scope
             LEFT JOIN scope_epochs wb ON wb.tenant_id = w.tenant_id AND wb.scope_id = w.board_scope
            WHERE w.tenant_id = t.tenant_id AND w.circle_id = wanted_circle
      ) p ON true;
END
$$;
GRANT EXECUTE ON FUNCTION gate(uuid, uuid, uuid, uuid, text, text) TO cairn_app;
