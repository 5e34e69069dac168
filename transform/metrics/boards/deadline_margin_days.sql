-- title: Margin between close and deadline, by day
-- unit: cases
-- The histogram of metrics.deadline_margin: margin_days is the whole days from close to
-- deadline, 0 the last day before it, -1 the first day after. Cases closed for the clock's
-- sake heap up at 0 and fall off at -1.
-- numerator: closed with that margin. denominator: closed with a deadline, same source, body
-- and category.
-- Source: DOMAIN §5, "On-time rate".
WITH binned AS (
  SELECT source, body, category, CAST(floor(duration_us / 86400000000.0) AS BIGINT) AS margin_days,
         sum(n) AS closed
  FROM metrics.deadline_margin_cells GROUP BY 1, 2, 3, 4
)
SELECT source, body, category, margin_days, closed AS numerator,
       sum(closed) OVER (PARTITION BY source, body, category) AS denominator,
       closed AS n, :as_of AS as_of
FROM binned
