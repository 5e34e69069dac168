-- title: Emergency board
-- unit: incidents
-- By service, category and day: incidents, those left out and why, those whose first arrival
-- could be measured, those with a norm, and those within it; the first arrival in
-- microseconds, p50 and p90 by nearest rank.
-- Source: DOMAIN §5, "Emergency stages".
WITH incidents AS (
  SELECT source, category, received_on AS day, count(*) AS incidents,
         sum(CASE WHEN outcome = 'test' THEN 1 ELSE 0 END) AS tests,
         sum(CASE WHEN outcome = 'duplicate' THEN 1 ELSE 0 END) AS duplicates,
         sum(CASE WHEN outcome = 'cancelled' THEN 1 ELSE 0 END) AS cancelled
  FROM core.cases WHERE regime = 'incident_112' AND received_on IS NOT NULL GROUP BY 1, 2, 3
), arrivals AS (
  SELECT source, category, day, sum(n) AS measured,
         nearest_rank(duration_us, observed, n, 0.5) AS arrival_p50_us,
         nearest_rank(duration_us, observed, n, 0.9) AS arrival_p90_us
  FROM metrics.emergency_first_arrival_cells GROUP BY 1, 2, 3
), norms AS (
  SELECT source, category, day, sum(numerator) AS in_norm, sum(denominator) AS with_norm
  FROM metrics.emergency_in_norm_cells GROUP BY 1, 2, 3
)
SELECT i.source, i.category, i.day, i.incidents, i.tests, i.duplicates, i.cancelled,
       coalesce(a.measured, 0) AS measured, coalesce(m.with_norm, 0) AS with_norm,
       coalesce(m.in_norm, 0) AS in_norm, a.arrival_p50_us, a.arrival_p90_us, :as_of AS as_of
FROM incidents i
LEFT JOIN arrivals a ON a.source = i.source AND (a.category IS NOT DISTINCT FROM i.category) AND a.day = i.day
LEFT JOIN norms m ON m.source = i.source AND (m.category IS NOT DISTINCT FROM i.category) AND m.day = i.day
