-- Names are compared byte by byte, whatever the database's locale is.

CREATE TABLE teams (
    id     text COLLATE "C" PRIMARY KEY,
    search text NOT NULL, -- ID, slug and name, in lower case
    data   text NOT NULL  -- the team, as JSON
);

-- Each team is here twice, once if its ID is its slug.
CREATE TABLE team_names (
    name    text COLLATE "C" PRIMARY KEY,
    team_id text COLLATE "C" NOT NULL
);

CREATE TABLE tokens (
    hash       bytea PRIMARY KEY,
    id         text COLLATE "C" NOT NULL UNIQUE,
    team_id    text COLLATE "C" NOT NULL, -- empty: an operator's
    created_at bigint NOT NULL,
    data       text NOT NULL -- the token, as JSON without its hash
);
CREATE INDEX tokens_of_team ON tokens (team_id);

CREATE TABLE sessions (
    hash       bytea PRIMARY KEY,
    expires_at bigint NOT NULL, -- Unix ms
    data       text NOT NULL    -- the session, as JSON without its hash
);

CREATE TABLE portal_links (
    hash       bytea PRIMARY KEY,
    expires_at bigint NOT NULL, -- Unix ms
    data       text NOT NULL    -- the link, as JSON without its hash
);

-- What is counted once for all. Whoever holds the row of activities numbers
-- them until the commit, so that they become visible in their order.
CREATE TABLE counters (
    name  text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL
);
INSERT INTO counters (name, value) VALUES ('activities', 0), ('forwarded', 0);

CREATE TABLE activities (
    number  bigint PRIMARY KEY,
    team_id text COLLATE "C" NOT NULL, -- empty: about none
    data    text NOT NULL -- the activity, as JSON
);
CREATE INDEX activities_of_team ON activities (team_id, number);

-- What manifests are signed with, in the order they were added. Who adds one takes
-- the next number, which only one of many can.
CREATE TABLE signing_keys (
    number bigint PRIMARY KEY,
    id     text COLLATE "C" NOT NULL UNIQUE,
    data   text NOT NULL -- the key, as JSON; the private one is encrypted
);

CREATE TABLE drains (
    id         text COLLATE "C" PRIMARY KEY,
    team_id    text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,  -- Unix ms
    disabled   boolean NOT NULL,
    search     text NOT NULL,    -- name, ID and endpoint, in lower case
    version    bigint NOT NULL,  -- goes up with every change of what delivery obeys
    data       text NOT NULL     -- the drain, as JSON
);
CREATE INDEX drains_of_team ON drains (team_id);

-- How far each drain has come: apart from its configuration, since it changes
-- all the time. Owner and epoch are in the row that a cursor is written to, so
-- that to compare them costs nothing.
CREATE TABLE delivery (
    drain_id        text COLLATE "C" PRIMARY KEY,
    team_id         text COLLATE "C" NOT NULL,
    cursor          bigint NOT NULL,
    skipped         bigint NOT NULL DEFAULT 0,
    errored         boolean NOT NULL DEFAULT false,
    replay_id       text NOT NULL DEFAULT '', -- the replay that this is about:
    replay_cursor   bigint NOT NULL DEFAULT 0,
    replay_finished boolean NOT NULL DEFAULT false,
    state           text NOT NULL DEFAULT '{}', -- the delivery state, as JSON
    owner           text COLLATE "C" NOT NULL DEFAULT '', -- the node that delivers
    epoch           bigint NOT NULL DEFAULT 0 -- goes up with every change of owner
) WITH (fillfactor = 50);
CREATE INDEX delivery_of_team ON delivery (team_id);
CREATE INDEX delivery_of_owner ON delivery (owner);

-- The nodes that deliver. One is alive for its term after its last beat. Whoever
-- owns a drain is here, alive or not. Times are the database's, in Unix ms.
CREATE TABLE nodes (
    id     text COLLATE "C" PRIMARY KEY, -- of a process, not of a machine
    joined bigint NOT NULL, -- since when it has been alive
    beat   bigint NOT NULL,
    term   bigint NOT NULL  -- ms
);

-- Rings: the slot of an attempt is its number, modulo how many are kept.
CREATE TABLE attempts (
    drain_id text COLLATE "C" NOT NULL,
    failed   boolean NOT NULL,
    slot     integer NOT NULL,
    data     text NOT NULL, -- the attempt, as JSON
    PRIMARY KEY (drain_id, failed, slot)
);

-- Rings of the steps of each span; see auditdrain.Spans.
CREATE TABLE series (
    drain_id text COLLATE "C" NOT NULL,
    span     text COLLATE "C" NOT NULL,
    slot     integer NOT NULL,
    start    bigint NOT NULL, -- Unix ms
    delivered bigint NOT NULL,
    failed   bigint NOT NULL,
    backlog  bigint NOT NULL,
    latency  bytea, -- a histogram
    PRIMARY KEY (drain_id, span, slot)
);

CREATE TABLE skips (
    drain_id text COLLATE "C" NOT NULL,
    from_seq bigint NOT NULL,
    to_seq   bigint NOT NULL,
    data     text NOT NULL, -- the skip, as JSON
    PRIMARY KEY (drain_id, from_seq, to_seq)
);

-- The last replay that was ordered of a drain.
CREATE TABLE replays (
    drain_id  text COLLATE "C" PRIMARY KEY,
    id        text NOT NULL,
    first_seq bigint NOT NULL,
    last_seq  bigint NOT NULL,
    cancelled boolean NOT NULL,
    data      text NOT NULL -- the order, as JSON
);

-- How far the account is that is kept of a drain, which may be deleted, and what
-- each manifest says that is to be written. Events are kept from needs on.
CREATE TABLE chains (
    drain_id text COLLATE "C" PRIMARY KEY,
    team_id  text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL, -- the first event that is not accounted for
    activity bigint NOT NULL, -- the last that was told of
    needs    bigint, -- the first event that is needed to go on; null: none
    data     text NOT NULL -- the chain, as JSON
) WITH (fillfactor = 50);
CREATE INDEX chains_of_team ON chains (team_id);
CREATE TABLE seals (
    drain_id text COLLATE "C" NOT NULL,
    number   bigint NOT NULL,
    team_id  text COLLATE "C" NOT NULL,
    needs    bigint, -- the first event that it is made from; null: none
    data     text NOT NULL, -- the seal, as JSON
    PRIMARY KEY (drain_id, number)
);
CREATE INDEX seals_of_team ON seals (team_id);

-- What the operator has been told of drains.
CREATE TABLE notified (
    drain_id text COLLATE "C" PRIMARY KEY,
    data     text NOT NULL -- as JSON
);

-- A team's sequence. Who appends to it, or decides by what is in it, holds its
-- row until the commit.
CREATE TABLE sequences (
    team_id     text COLLATE "C" PRIMARY KEY,
    last_seq    bigint NOT NULL DEFAULT 0,
    total_bytes bigint NOT NULL DEFAULT 0, -- of all bodies
    accepted_at bigint NOT NULL DEFAULT 0, -- of the last event, Unix µs
    gone        bigint NOT NULL DEFAULT 0  -- events up to this have been removed
) WITH (fillfactor = 50);

-- Since when a team's events have been delivered: see Retain.
CREATE TABLE delivered (
    team_id text COLLATE "C" NOT NULL,
    at      bigint NOT NULL, -- Unix µs
    seq     bigint NOT NULL,
    PRIMARY KEY (team_id, at)
);

-- Day is when an event was accepted, in days since 1970 (UTC); 0 is for what
-- was left of days that have gone. An event with a number up to the gone of its
-- sequence has been removed, though its row may still be there.
CREATE TABLE events (
    team_id     text COLLATE "C" NOT NULL,
    seq         bigint NOT NULL,
    day         integer NOT NULL,
    id          text COLLATE "C" NOT NULL,
    accepted_at bigint NOT NULL, -- Unix µs
    timestamp   bigint NOT NULL, -- its own, Unix ms
    total_bytes bigint NOT NULL, -- of the bodies up to its own
    body        bytea NOT NULL,
    PRIMARY KEY (team_id, seq, day)
) PARTITION BY LIST (day);
CREATE INDEX events_by_id ON events (team_id, id);
CREATE TABLE events_leftover PARTITION OF events FOR VALUES IN (0);

-- The days that have a partition.
CREATE TABLE days (
    day integer PRIMARY KEY
);

-- An embedded store that is being moved here, or was: one row, or none. Until it
-- is complete, nobody else uses the database.
CREATE TABLE imports (
    id          integer PRIMARY KEY CHECK (id = 1),
    run         text NOT NULL,  -- who fills the tables; the next one takes its place
    finished_at bigint NOT NULL -- Unix ms; 0: not yet
);

-- Up to which number a drain needs no event any more: its cursor, or what its
-- replay has read, where one is running that has not read all; and what the
-- manifests need that are yet to be written, of deleted drains, too.
CREATE VIEW needs AS
SELECT d.drain_id, d.team_id,
    CASE
        WHEN r.id IS NULL OR r.cancelled THEN d.cursor
        WHEN d.replay_id <> r.id THEN
            CASE WHEN r.first_seq <= r.last_seq THEN least(d.cursor, r.first_seq - 1) ELSE d.cursor END
        WHEN d.replay_finished OR greatest(d.replay_cursor, r.first_seq - 1) >= r.last_seq THEN d.cursor
        ELSE least(d.cursor, greatest(d.replay_cursor, r.first_seq - 1))
    END AS done
FROM delivery d LEFT JOIN replays r ON r.drain_id = d.drain_id
UNION ALL
SELECT drain_id, team_id, needs - 1 FROM chains WHERE needs IS NOT NULL
UNION ALL
SELECT drain_id, team_id, needs - 1 FROM seals WHERE needs IS NOT NULL;
