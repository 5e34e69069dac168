-- Events as they are: one record is one event. Instants are ISO 8601 with offset.
SELECT
  _record,
  kind,
  parse_when("at", 'UTC') AS occurred_at,
  parse_when(recorded_at, 'UTC') AS recorded_at,
  part AS part_id,
  status,
  outcome,
  category,
  body,
  parse_when(due, 'UTC') AS due_at,
  reason,
  regime,
  parent AS parent_case_id,
  TRY_CAST(score AS INT) AS score,
  TRY_CAST(lon AS DOUBLE) AS longitude,
  TRY_CAST(lat AS DOUBLE) AS latitude,
  json_object('applicant', keyed_hash(applicant)) AS attributes
FROM raw
