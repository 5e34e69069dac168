-- title: Repeat complaints at a place
-- unit: ratio
-- Of the complaints with a location, how many came within 30 days and 100 metres of another on
-- the same topic, whoever made them.
-- numerator: repeats. denominator: with a location and a category. n: all complaints;
-- denominator over n is the coverage.
-- Formed at read, as metrics.repeat_complaints. Near ones are found by a grid of 0.002° by
-- 0.004° and its neighbours (up to 76° of latitude a cell is wider than 100 m), then measured
-- along the great circle.
-- Source: DOMAIN §5, "Repeat complaints".
WITH complaints AS (
  SELECT case_id, source, body, category, territory, received_on, received_at, longitude, latitude,
         longitude IS NOT NULL AND category IS NOT NULL AS placed,
         CAST(floor(longitude / 0.004) AS BIGINT) AS x, CAST(floor(latitude / 0.002) AS BIGINT) AS y
  FROM core.cases
  WHERE regime IN ('request_109', 'formal_appeal', 'social_appeal') AND received_at IS NOT NULL
), steps AS (
  SELECT a.step AS dx, b.step AS dy
  FROM (VALUES (-1), (0), (1)) AS a(step) CROSS JOIN (VALUES (-1), (0), (1)) AS b(step)
), around AS (
  SELECT case_id, category, received_at, longitude, latitude, x + dx AS x, y + dy AS y
  FROM complaints CROSS JOIN steps WHERE placed
), repeats AS (
  SELECT DISTINCT later.case_id
  FROM complaints later
  JOIN around earlier ON earlier.category = later.category AND earlier.x = later.x AND earlier.y = later.y
  WHERE later.placed AND earlier.case_id <> later.case_id
    AND (earlier.received_at < later.received_at
         OR (earlier.received_at = later.received_at AND earlier.case_id < later.case_id))
    AND elapsed_us(earlier.received_at, later.received_at) <= 2592000000000
    AND metres_between(earlier.longitude, earlier.latitude, later.longitude, later.latitude) <= 100.0
)
SELECT c.source, c.body, c.category, c.territory, c.received_on AS day,
       count(r.case_id) AS numerator,
       sum(CASE WHEN c.placed THEN 1 ELSE 0 END) AS denominator, count(*) AS n, :as_of AS as_of
FROM complaints c LEFT JOIN repeats r ON r.case_id = c.case_id
GROUP BY 1, 2, 3, 4, 5
