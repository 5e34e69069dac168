-- 112 dispatch: one record is one unit sent to an incident (identity: incident + unit),
-- said again with a higher `version` when the unit arrives, is free, or has a stamp put
-- right. The case is the incident; stages belong to the part, which is the unit.
--
-- Zone: "2026-03-01T09:30:00+05:00", stated in every time.
-- Category: service and urgency, e.g. 'ambulance-1' (norms differ by both).
--
-- Edge cases:
--   a stamp that is absent drops the stage and not the unit
--   cancelled and test incidents are withdrawn with that word as the outcome, repeated
--     ones are merged with the outcome 'duplicate': the emergency figures leave them out.
--     When it was found out is not said; the newest stamp of the unit stands for it
--   the norm of arrival of an ambulance by category (10, 15, 30, 60 minutes from the call) is
--     the due instant of each unit; police and fire have none here. Check it against the order
--     in force: these are of a draft of 2024
--   no closing is mapped: a unit that is free does not end an incident on which others
--     still work. The last `available_at` of the incident's parts is that end

WITH told AS (
  SELECT
    _record,
    TRY_CAST(version AS BIGINT) AS version,
    unit,
    service,
    coalesce(category_of('door-112', concat(service, '-', category)), concat(service, '-', category)) AS category,
    district AS territory,
    TRY_CAST(longitude AS DOUBLE) AS longitude,
    TRY_CAST(latitude AS DOUBLE) AS latitude,
    parse_when(received_at, 'Asia/Almaty') AS received_at,
    parse_when(entered_at, 'Asia/Almaty') AS entered_at,
    parse_when(dispatched_at, 'Asia/Almaty') AS dispatched_at,
    parse_when(en_route_at, 'Asia/Almaty') AS en_route_at,
    parse_when(on_scene_at, 'Asia/Almaty') AS on_scene_at,
    parse_when(transport_at, 'Asia/Almaty') AS transport_at,
    parse_when(available_at, 'Asia/Almaty') AS available_at,
    lower(test) = 'true' AS test,
    lower(cancelled) = 'true' AS cancelled,
    duplicate_of,
    CASE
      WHEN received_at IS NULL THEN 'no received_at'
      WHEN unit IS NULL THEN 'no unit'
      WHEN TRY_CAST(version AS BIGINT) IS NULL THEN 'version is not a number'
    END AS set_aside
  FROM raw
)

-- The call was received: said again by every unit's row, in the same words.
SELECT
  _record,
  'received' AS kind,
  received_at AS occurred_at,
  version,
  NULL AS part_id,
  NULL AS status,
  NULL AS outcome,
  category,
  service AS body,
  territory,
  longitude,
  latitude,
  NULL AS parent_case_id,
  NULL AS due_at,
  set_aside
FROM told

UNION ALL
SELECT _record, 'stage', received_at, version, unit, 'received', NULL, category, service, territory, NULL, NULL, NULL, NULL, NULL FROM told
UNION ALL
SELECT _record, 'stage', entered_at, version, unit, 'entered', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told
UNION ALL
SELECT _record, 'stage', dispatched_at, version, unit, 'dispatched', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told
UNION ALL
SELECT _record, 'stage', en_route_at, version, unit, 'en_route', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told
UNION ALL
SELECT _record, 'stage', on_scene_at, version, unit, 'on_scene', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told
UNION ALL
SELECT _record, 'stage', transport_at, version, unit, 'transport', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told
UNION ALL
SELECT _record, 'stage', available_at, version, unit, 'available', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told

UNION ALL
SELECT
  _record,
  'withdrawn',
  CASE WHEN test OR cancelled THEN coalesce(available_at, on_scene_at, en_route_at, dispatched_at, received_at) END,
  version,
  NULL,
  NULL,
  CASE WHEN test THEN 'test' ELSE 'cancelled' END,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM told

UNION ALL
SELECT
  _record,
  'merged',
  CASE
    WHEN duplicate_of IS NOT NULL
    THEN coalesce(available_at, on_scene_at, en_route_at, dispatched_at, received_at)
  END,
  version,
  NULL,
  NULL,
  'duplicate',
  NULL, NULL, NULL, NULL, NULL,
  concat('door-112:', duplicate_of),
  NULL,
  NULL
FROM told

UNION ALL
SELECT
  _record, 'deadline_set', received_at, version, unit, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  received_at + CASE category
    WHEN 'ambulance-1' THEN INTERVAL '10 minutes'
    WHEN 'ambulance-2' THEN INTERVAL '15 minutes'
    WHEN 'ambulance-3' THEN INTERVAL '30 minutes'
    ELSE INTERVAL '60 minutes'
  END,
  NULL
FROM told
-- An unreadable time sets the record aside by the other events; nothing can be added to it.
WHERE service = 'ambulance' AND received_at > parse_when('1901-01-01', 'UTC')
