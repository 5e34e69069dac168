-- Zurich damage reports: one row is one report. There is no id, no status and no
-- close date: every case stays open, and no duration can be formed from this source.
--
-- Zone: "date" is a local day of Europe/Zurich; the report is dated to the local
-- midnight at which that day began.
-- Units: e and n are Swiss LV95 (EPSG:2056) whole metres, easting 2,677,064 to
-- 2,689,602 and northing 1,241,838 to 1,254,152; longitude and latitude are WGS 84
-- degrees, within 2 m of the rigorous transformation.
--
-- Edge cases of 62,245 rows: none blank, none unreadable; 232 exact repeats of
-- another row, kept by the profile's identity; "year" only repeats the date's.

SELECT
  _record,
  'received' AS kind,
  parse_when("date", 'Europe/Zurich') AS occurred_at,
  service_code AS category,
  lv95_longitude(TRY_CAST(e AS DOUBLE), TRY_CAST(n AS DOUBLE)) AS longitude,
  lv95_latitude(TRY_CAST(e AS DOUBLE), TRY_CAST(n AS DOUBLE)) AS latitude,
  CASE
    WHEN e IS NOT NULL AND TRY_CAST(e AS DOUBLE) IS NULL THEN 'e is not a number'
    WHEN n IS NOT NULL AND TRY_CAST(n AS DOUBLE) IS NULL THEN 'n is not a number'
  END AS set_aside
FROM raw
