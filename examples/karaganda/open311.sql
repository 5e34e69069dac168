-- Open311 GeoReport v2: one record is the whole state of one request. It has no version
-- of its own; `updated_datetime` is the nearest thing, so the newest update supersedes.
--
-- Zone: "2026-03-01T09:30:00+05:00", stated in every time.
--
-- Edge cases:
--   `updated_datetime` of a closed request doubles as its close time, and a later edit
--     (a score, a correction) replaces it: `time_rule` asks for the close as it was first
--     observed. What was edited before we first looked comes out late, never early
--   the standard knows two states; why a request is closed stands in `status_notes`:
--     'resolved', 'rejected', 'not_ours', or that the applicant withdrew
--   `expected_datetime` is the term in force; the one promised first is not told
--   `address_id` carries the territory code
-- Free text (`description`) may name a person and is not read.

WITH told AS (
  SELECT
    _record,
    status,
    status_notes,
    parse_when(requested_datetime, 'Asia/Almaty') AS requested_at,
    parse_when(updated_datetime, 'Asia/Almaty') AS updated_at,
    parse_when(expected_datetime, 'Asia/Almaty') AS expected_at,
    -- The service code means one of our categories; an unknown one stays, and is counted.
    coalesce(category_of('open311', service_code), service_code) AS service_code,
    service_name,
    agency_responsible,
    address,
    address_id,
    TRY_CAST(long AS DOUBLE) AS longitude,
    TRY_CAST(lat AS DOUBLE) AS latitude,
    CASE
      WHEN requested_datetime IS NULL THEN 'no requested_datetime'
      WHEN updated_datetime IS NULL THEN 'no updated_datetime'
      WHEN status NOT IN ('open', 'closed') THEN concat('unknown status: ', status)
    END AS set_aside
  FROM raw
)

SELECT
  _record,
  'received' AS kind,
  requested_at AS occurred_at,
  -- Also makes an unreadable `updated_datetime` set the record aside.
  updated_at AS recorded_at,
  updated_at AS version,
  'open' AS status,
  NULL AS outcome,
  service_code AS category,
  agency_responsible AS body,
  address_id AS territory,
  NULL AS due_at,
  NULL AS basis,
  longitude,
  latitude,
  json_object('service', service_name, 'address', address) AS attributes,
  NULL AS time_rule,
  set_aside
FROM told

UNION ALL
SELECT
  _record, 'deadline_set', CASE WHEN expected_at IS NOT NULL THEN requested_at END, NULL, updated_at, NULL, NULL, NULL, NULL, NULL,
  expected_at, 'expected_datetime', NULL, NULL, NULL, NULL, NULL
FROM told

UNION ALL
SELECT
  _record,
  CASE WHEN status_notes LIKE 'withdrawn%' THEN 'withdrawn' ELSE 'closed' END,
  CASE WHEN status = 'closed' THEN updated_at END,
  NULL,
  updated_at,
  status,
  CASE WHEN status_notes LIKE 'withdrawn%' THEN 'withdrawn' ELSE coalesce(status_notes, 'unstated') END,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'first_observed', NULL
FROM told
