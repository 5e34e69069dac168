-- Boston service requests: one row is one request with its last known state.
--
-- Zone: open_dt, target_dt and closed_dt are local times of America/New_York
-- without an offset, to the second. Taking them for UTC moves a duration by an
-- hour whenever it crosses a clock change (p90 1899.4761 h instead of 1899.4978).
--
-- Edge cases, counted in 2011 / 2019:
--   a closed_dt though case_status is Open .. 0 / 0: no close, flagged as
--     close_date_without_close
--   still open, closed_dt blank ......... 3,681 / 3,843: no closing, stays open
--   no target_dt ....................... 10,981 / 3,508: no deadline
--   closed in the second of opening ..... 2,499 / 0: kept, zero is a duration
--   target before opening ................... 3 / 0: kept, the promise was made so
--   opened or closed in the hour that occurs
--     twice (2011-11-06 01:00-02:00) ........ 4 / 0: the earlier is taken
--   default point 42.3594, -71.0587 ..... 4,775 / 0: where the city could not place
--     the address (2,829 have none at all); not a location, so dropped
--   ward "Ward 3", "03", "3" ........... normalised to "3"; "0" (0 / 3) is no ward
--   zip "02119" / "2119.0" ............. five digits again; 11,847 / 1,530 blank
-- The source's own verdict (ontime, on_time) is not read: it says ONTIME where
-- there is no target and is blank for 158 rows of 2011.
--
-- "Closed" is not "fixed": the outcome is read from the first words of
-- closure_reason. The rest of that text is free and may name people: left in raw.

WITH told AS (
  SELECT
    _record,
    parse_when(open_dt, 'America/New_York') AS opened_at,
    parse_when(target_dt, 'America/New_York') AS target_at,
    parse_when(closed_dt, 'America/New_York') AS ended_at,
    case_status,
    lower(trim(regexp_replace(
      closure_reason,
      '^Case Closed[.]?( Closed date : [0-9-]+ [0-9:.]+)?', ''
    ))) AS verdict,
    "type" AS category,
    nullif(department, 'No Q') AS body,
    nullif(ltrim(replace(ward, 'Ward ', ''), '0'), '') AS territory,
    CASE WHEN latitude = '42.3594' AND longitude = '-71.0587' THEN NULL
      ELSE TRY_CAST(longitude AS DOUBLE) END AS longitude,
    CASE WHEN latitude = '42.3594' AND longitude = '-71.0587' THEN NULL
      ELSE TRY_CAST(latitude AS DOUBLE) END AS latitude,
    CASE
      WHEN open_dt IS NULL THEN 'no open_dt'
      WHEN longitude IS NOT NULL AND TRY_CAST(longitude AS DOUBLE) IS NULL THEN 'longitude is not a number'
      WHEN latitude IS NOT NULL AND TRY_CAST(latitude AS DOUBLE) IS NULL THEN 'latitude is not a number'
    END AS set_aside,
    json_object(
      'channel', source,
      'subject', subject,
      'topic', reason,
      'queue', queue,
      'neighborhood', neighborhood,
      'zip', lpad(split_part(location_zipcode, '.', 1), 5, '0')
    ) AS attributes
  FROM raw
)

-- The request reached the city.
SELECT
  _record,
  'received' AS kind,
  opened_at AS occurred_at,
  'Open' AS status,
  NULL AS outcome,
  category,
  body,
  territory,
  NULL AS due_at,
  NULL AS basis,
  NULL AS reason,
  longitude,
  latitude,
  attributes,
  set_aside
FROM told

UNION ALL

-- The city promised a date when it took the request.
SELECT
  _record,
  'deadline_set' AS kind,
  opened_at AS occurred_at,
  NULL AS status,
  NULL AS outcome,
  NULL AS category,
  NULL AS body,
  NULL AS territory,
  target_at AS due_at,
  'target stated by the city' AS basis,
  NULL AS reason,
  NULL AS longitude,
  NULL AS latitude,
  NULL AS attributes,
  set_aside
FROM told
WHERE target_at IS NOT NULL

UNION ALL

-- The request was closed, for the reason the city gives.
SELECT
  _record,
  'closed' AS kind,
  ended_at AS occurred_at,
  case_status AS status,
  CASE
    WHEN verdict LIKE 'case resolved%' THEN 'resolved'
    WHEN verdict LIKE 'internal case performed by%' THEN 'resolved'
    WHEN verdict LIKE 'viocor:%' OR verdict LIKE 'corr:%' THEN 'resolved'
    WHEN verdict LIKE 'case scheduled%' OR verdict LIKE 'bulk item automation%' THEN 'scheduled'
    WHEN verdict LIKE 'case noted%' THEN 'noted'
    WHEN verdict LIKE 'duplicate%' THEN 'duplicate'
    WHEN verdict LIKE 'case invalid%' THEN 'rejected'
    WHEN verdict LIKE 'case referred%' OR verdict LIKE 'roa:%' THEN 'not_ours'
    WHEN verdict LIKE 'novio:%' OR verdict LIKE 'nobase:%' THEN 'nothing_found'
    WHEN verdict LIKE 'vioiss:%' THEN 'violation_filed'
    WHEN verdict LIKE 'adclsd:%' THEN 'administrative'
    WHEN verdict LIKE 'tfa:%' OR verdict LIKE 'noacc:%' THEN 'no_access'
    ELSE 'unstated'
  END AS outcome,
  NULL AS category,
  NULL AS body,
  NULL AS territory,
  NULL AS due_at,
  NULL AS basis,
  NULL AS reason,
  NULL AS longitude,
  NULL AS latitude,
  NULL AS attributes,
  set_aside
FROM told
WHERE ended_at IS NOT NULL AND coalesce(case_status, '') <> 'Open'

UNION ALL

-- A date of closing on a request that is open: the city contradicts itself.
SELECT
  _record, 'flawed', ended_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  'close_date_without_close', NULL, NULL, NULL, set_aside
FROM told
WHERE ended_at IS NOT NULL AND case_status = 'Open'
