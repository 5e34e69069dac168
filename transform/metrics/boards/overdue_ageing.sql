-- title: Ageing of the overdue
-- unit: cases
-- The cases of overdue_backlog by how long ago their deadline passed, in whole days: 0–3, 4–10,
-- 11–30, 31–90, >90. numerator: overdue in the band. denominator: all overdue of the same
-- source, body, category and territory, so bands add up to 1.
-- Formed at read from metrics.overdue_backlog_cells, for any past moment.
-- Source: DOMAIN §5, "Overdue backlog at A".
WITH aged AS (
  SELECT source, body, category, territory, numerator AS overdue,
         CASE WHEN duration_us < 345600000000 THEN '0–3'
              WHEN duration_us < 950400000000 THEN '4–10'
              WHEN duration_us < 2678400000000 THEN '11–30'
              WHEN duration_us < 7862400000000 THEN '31–90'
              ELSE '>90' END AS band
  FROM metrics.overdue_backlog_cells WHERE numerator > 0
), banded AS (
  SELECT source, body, category, territory, band, sum(overdue) AS overdue FROM aged GROUP BY 1, 2, 3, 4, 5
)
SELECT source, body, category, territory, band, overdue AS numerator,
       sum(overdue) OVER (PARTITION BY source, body, category, territory) AS denominator,
       overdue AS n, :as_of AS as_of
FROM banded
