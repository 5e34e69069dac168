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

SELECT
  _record,
  'received' AS kind,
  parse_when(
    CASE WHEN "desc" LIKE '%-- @ ::%' THEN "timeStamp"
      ELSE coalesce(
        regexp_replace(
          nullif(regexp_replace("desc", '^.*([0-9]{4}-[0-9]{2}-[0-9]{2} @ [0-9]{2}:[0-9]{2}:[0-9]{2}).*$', '\1'), "desc"),
          ' @ ', ' '
        ),
        "timeStamp"
      )
    END,
    'America/New_York'
  ) AS occurred_at,
  parse_when("timeStamp", 'America/New_York') AS recorded_at,
  split_part(title, ':', 1) AS category,
  nullif(nullif(regexp_replace("desc", '^.*Station[: ]([0-9A-Z]+);.*$', '\1'), "desc"), '') AS body,
  twp AS territory,
  CASE WHEN CAST(lng AS DOUBLE) BETWEEN -76.5 AND -74.5
    AND CAST(lat AS DOUBLE) BETWEEN 39.5 AND 41.0 THEN CAST(lng AS DOUBLE) END AS longitude,
  CASE WHEN CAST(lng AS DOUBLE) BETWEEN -76.5 AND -74.5
    AND CAST(lat AS DOUBLE) BETWEEN 39.5 AND 41.0 THEN CAST(lat AS DOUBLE) END AS latitude,
  json_object(
    'type', trim(regexp_replace(trim(substr(title, strpos(title, ':') + 1)), ' -$', '')),
    'zip', zip
  ) AS attributes
FROM raw
