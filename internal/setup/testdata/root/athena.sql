-- The drain's objects in Athena. Run the statements one by one, in a database of yours.
--
-- Both encodings, json and ndjson, put one event on one line, so one table reads both. It takes each line as a text and
-- leaves JSON to the view below, because neither JSON SerDe reads every event as it is:
--   * org.apache.hive.hcatalog.data.JsonSerDe cannot read an object into a string, and payload is an object of any shape;
--   * org.openx.data.jsonserde.JsonSerDe can, but writes it anew, folds the case of keys unless told not to, so that "Id"
--     and "id" collide, and AWS documents that it may return more or fewer rows than there are.
-- A JSON text has no control characters, so the delimiter \001 never occurs in it.
--
-- The location begins below schema=audit_log, so that test deliveries, which are under test/, are left out. Partition
-- projection computes the folders, so there is nothing to crawl or to repair. A query without a condition on year, month
-- and day looks into each day of the range: narrow projection.year.range to the years that you have.
CREATE EXTERNAL TABLE audit_log_text (
  event string
)
PARTITIONED BY (year int, month int, day int)
ROW FORMAT DELIMITED FIELDS TERMINATED BY '\001' LINES TERMINATED BY '\n'
STORED AS TEXTFILE
LOCATION 's3://acme-audit-archive/schema=audit_log/version=v1/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.year.type' = 'integer',
  'projection.year.range' = '2000,2099',
  'projection.month.type' = 'integer',
  'projection.month.range' = '1,12',
  'projection.month.digits' = '2',
  'projection.day.type' = 'integer',
  'projection.day.range' = '1,31',
  'projection.day.digits' = '2',
  'storage.location.template' = 's3://acme-audit-archive/schema=audit_log/version=v1/year=${year}/month=${month}/day=${day}/'
);

-- payload and via are JSON texts; read into them with json_extract_scalar(payload, '$.name'). The event's exact text, with
-- the fields that the view leaves out and with every digit, is in audit_log_text.
CREATE OR REPLACE VIEW audit_log AS
SELECT
  json_extract_scalar(event, '$.id') AS id,
  json_extract_scalar(event, '$.teamId') AS team_id,
  json_extract_scalar(event, '$.projectId') AS project_id,
  json_extract_scalar(event, '$.action') AS action,
  CAST(json_extract_scalar(event, '$.timestamp') AS bigint) AS timestamp_ms,
  CAST(from_unixtime(CAST(json_extract_scalar(event, '$.timestamp') AS bigint) / 1e3) AT TIME ZONE 'UTC' AS timestamp) AS happened_at,
  json_extract_scalar(event, '$.actor.type') AS actor_type,
  json_extract_scalar(event, '$.actor.id') AS actor_id,
  json_extract_scalar(event, '$.actor.name') AS actor_name,
  json_extract_scalar(event, '$.actor.email') AS actor_email,
  json_format(json_extract(event, '$.via')) AS via,
  json_extract_scalar(event, '$.requestId') AS request_id,
  json_extract_scalar(event, '$.userAgent') AS user_agent,
  json_extract_scalar(event, '$.ipAddress') AS ip_address,
  json_extract_scalar(event, '$.tokenId') AS token_id,
  json_format(json_extract(event, '$.payload')) AS payload,
  year, month, day
FROM audit_log_text;

-- Who did what on a day. The condition on year, month and day reads that day's objects only. Folders and happened_at are
-- in UTC.
SELECT happened_at, action, actor_type, actor_name, payload
FROM audit_log
WHERE year = 2026 AND month = 5 AND day = 22
ORDER BY happened_at;
