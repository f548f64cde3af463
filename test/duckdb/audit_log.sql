-- Reads a drain's objects with DuckDB. Put your own bucket and prefix in.
--
-- The path begins below schema=audit_log, so that objects of test deliveries,
-- which lie under test/, are left out. The columns are named, because DuckDB
-- otherwise guesses them from a few objects and fails at the first payload
-- that is different. hive_types makes numbers of month and day: "02" would be
-- text. The column "schema" is the folder's (audit_log): it hides the event's
-- field of the same name.
CREATE VIEW audit_log AS
SELECT *, epoch_ms("timestamp") AS happened_at
FROM read_json(
  's3://acme-audit-archive/audit-logs/schema=audit_log/**/*.jsonl',
  hive_partitioning = true,
  hive_types = {'year': INTEGER, 'month': INTEGER, 'day': INTEGER},
  columns = {
    'id': 'VARCHAR',
    'teamId': 'VARCHAR',
    'projectId': 'VARCHAR',
    'action': 'VARCHAR',
    'timestamp': 'BIGINT',
    'actor': 'STRUCT("type" VARCHAR, "id" VARCHAR, "name" VARCHAR, "email" VARCHAR)',
    'via': 'STRUCT("type" VARCHAR, "id" VARCHAR, "name" VARCHAR, "email" VARCHAR)[]',
    'requestId': 'VARCHAR',
    'userAgent': 'VARCHAR',
    'ipAddress': 'VARCHAR',
    'tokenId': 'VARCHAR',
    'payload': 'JSON'
  }
);

-- The events' exact text, with all that the view leaves out or rounds.
CREATE VIEW audit_log_text AS
SELECT json
FROM read_json_objects('s3://acme-audit-archive/audit-logs/schema=audit_log/**/*.jsonl');
