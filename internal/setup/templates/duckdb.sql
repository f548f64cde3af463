-- The drain's objects in DuckDB.
--
-- Credentials are those that the AWS CLI would use. They need s3:ListBucket and s3:GetObject, and kms:Decrypt if a customer
-- managed key encrypts the bucket.
CREATE OR REPLACE SECRET audit_log (
  TYPE s3,
  PROVIDER credential_chain,
{{- if .S3Endpoint}}
  ENDPOINT {{sql .S3Endpoint}},
{{- end}}
  REGION {{sql .RegionOrPlaceholder}},
  SCOPE {{sql .BucketURL}}
);

-- The path begins below schema=audit_log, so that objects of test deliveries, which are under test/, are left out. The
-- columns are named, because DuckDB otherwise guesses them from a few objects and fails at the first payload that is
-- different. hive_types makes numbers of month and day: "02" would be text. The column "schema" is the folder's
-- (audit_log): it hides the event's field of the same name.
CREATE OR REPLACE VIEW audit_log AS
SELECT *, epoch_ms("timestamp") AS happened_at
FROM read_json(
  {{sql .Glob}},
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
CREATE OR REPLACE VIEW audit_log_text AS
SELECT json
FROM read_json_objects({{sql .Glob}});

-- Who did what on a day. The condition on year, month and day reads that day's objects only. Folders and happened_at are
-- in UTC.
SELECT happened_at, action, actor.type, actor.name, payload
FROM audit_log
WHERE year = 2026 AND month = 5 AND day = 22
ORDER BY happened_at;
