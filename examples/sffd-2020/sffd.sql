-- San Francisco fire and ambulance calls: one row is one *unit* sent to a call, so
-- a case (Call Number) has as many records as units, 1 to 16. What concerns the
-- call is equal on all its rows; what concerns the unit goes to the part.
--
-- Zone: "04/07/2020 11:53:08 PM" is local time of America/Los_Angeles.
--
-- Edge cases of 10,410 rows (2020): 1,716 units without On Scene and 203 without
-- Response (cancelled on the way, mostly): that stage is absent, the unit stays;
-- 7,463 without Transport; 2 without Available; one call's district is the word "None";
-- on 23 calls two units arrive first in the same second; no stage before Received, and none
-- reversed among those mapped (Hospital precedes Transport on 13 rows and follows
-- Available on 2; there is no such stage here, it stays in raw).
-- Header drift: the neighbourhood column has one name in 2020 and another in 2017;
-- either is read, absent columns are NULL. In 2017 one unit's Transport and two
-- units' Hospital precede Received.
--
-- No closing is mapped: a row tells when its unit was free again, which is not the
-- end of the incident while others are still on scene. The last `available_at` of
-- the incident's parts is that end.

WITH told AS (
  SELECT
    _record,
    "Unit ID" AS unit,
    "Call Type" AS category,
    "Battalion" AS body,
    nullif("Supervisor District", 'None') AS territory,
    parse_when("Received DtTm", 'America/Los_Angeles', '%m/%d/%Y %I:%M:%S %p') AS received_at,
    parse_when("Entry DtTm", 'America/Los_Angeles', '%m/%d/%Y %I:%M:%S %p') AS entered_at,
    parse_when("Dispatch DtTm", 'America/Los_Angeles', '%m/%d/%Y %I:%M:%S %p') AS dispatched_at,
    parse_when("Response DtTm", 'America/Los_Angeles', '%m/%d/%Y %I:%M:%S %p') AS en_route_at,
    parse_when("On Scene DtTm", 'America/Los_Angeles', '%m/%d/%Y %I:%M:%S %p') AS on_scene_at,
    parse_when("Transport DtTm", 'America/Los_Angeles', '%m/%d/%Y %I:%M:%S %p') AS transport_at,
    parse_when("Available DtTm", 'America/Los_Angeles', '%m/%d/%Y %I:%M:%S %p') AS available_at,
    TRY_CAST(split_part(trim(trim("Location", '('), ')'), ', ', 2) AS DOUBLE) AS longitude,
    TRY_CAST(split_part(trim(trim("Location", '('), ')'), ', ', 1) AS DOUBLE) AS latitude,
    CASE WHEN "Unit ID" IS NULL THEN 'no Unit ID' END AS set_aside,
    json_object(
      'incident', "Incident Number",
      'priority', "Final Priority",
      'disposition', "Call Final Disposition",
      'group', "Call Type Group",
      'alarms', "Number of Alarms",
      'neighborhood', coalesce("Neighborhooods - Analysis Boundaries", "Neighborhood  District")
    ) AS attributes
  FROM raw
)

-- The call was received: said again by every unit's row, in the same words.
SELECT
  _record,
  'received' AS kind,
  received_at AS occurred_at,
  NULL AS part_id,
  NULL AS status,
  category,
  body,
  territory,
  longitude,
  latitude,
  attributes,
  set_aside
FROM told

UNION ALL
SELECT _record, 'stage', received_at, unit, 'received', NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told
UNION ALL
SELECT _record, 'stage', entered_at, unit, 'entered', NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told
UNION ALL
SELECT _record, 'stage', dispatched_at, unit, 'dispatched', NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told
UNION ALL
SELECT _record, 'stage', en_route_at, unit, 'en_route', NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told
UNION ALL
SELECT _record, 'stage', on_scene_at, unit, 'on_scene', NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told
UNION ALL
SELECT _record, 'stage', transport_at, unit, 'transport', NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told
UNION ALL
SELECT _record, 'stage', available_at, unit, 'available', NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM told
