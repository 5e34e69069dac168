-- Montgomery County emergency calls: one row is one incident, without stages and
-- without an end.
--
-- Zone: America/New_York, local times without an offset.
-- Two clocks: `desc` ends in the county's own time ("2015-12-10 @ 17:10:52"); the
-- column timeStamp is when the feed was read: 99 % of its seconds are 00 to 02, it
-- never precedes the county's time and follows it by a median of 211 s and by up to
-- 22.6 h. So the first is when it happened, the second when it was recorded.
--
-- Edge cases of 99,492 rows: 3 have "-- @ ::" for the county's time and are dated by
-- timeStamp; 15 points lie in Ohio, Texas, Alabama or the middle of the state (a
-- geocoder's answer to a bare county name) and are dropped, the incident stays;
-- 12,855 without zip; 43 without township; "Station" is blank on 1 row, absent for
-- Traffic. Times never fall into an ambiguous or missing hour.
-- Addresses and the rest of the text stay in raw.

WITH told AS (
  SELECT
    _record,
    coalesce(
      parse_when(
        regexp_match("desc", '[0-9]{4}-[0-9]{2}-[0-9]{2} @ [0-9]{2}:[0-9]{2}:[0-9]{2}')[1],
        'America/New_York',
        '%Y-%m-%d @ %H:%M:%S'
      ),
      parse_when("timeStamp", 'America/New_York')
    ) AS occurred_at,
    parse_when("timeStamp", 'America/New_York') AS recorded_at,
    split_part(title, ':', 1) AS category,
    regexp_match("desc", 'Station[: ]([0-9A-Z]+);')[1] AS body,
    twp AS territory,
    TRY_CAST(lng AS DOUBLE) AS longitude,
    TRY_CAST(lat AS DOUBLE) AS latitude,
    TRY_CAST(lng AS DOUBLE) BETWEEN -76.5 AND -74.5
      AND TRY_CAST(lat AS DOUBLE) BETWEEN 39.5 AND 41.0 AS nearby,
    CASE
      WHEN lng IS NOT NULL AND TRY_CAST(lng AS DOUBLE) IS NULL THEN 'lng is not a number'
      WHEN lat IS NOT NULL AND TRY_CAST(lat AS DOUBLE) IS NULL THEN 'lat is not a number'
    END AS set_aside,
    json_object(
      'type', regexp_replace(trim(substr(title, strpos(title, ':') + 1)), ' -$', ''),
      'zip', zip
    ) AS attributes
  FROM raw
)

SELECT
  _record,
  'received' AS kind,
  occurred_at,
  recorded_at,
  category,
  body,
  territory,
  CASE WHEN nearby THEN longitude END AS longitude,
  CASE WHEN nearby THEN latitude END AS latitude,
  attributes,
  set_aside
FROM told
