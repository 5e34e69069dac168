-- title: Ranking of bodies: :metric
-- unit: ratio
-- The rate of metrics.:metric per body, adjusted for what the body is given to do, per
-- source and period ('all', or a month of the metric's day, '2026-03').
-- Indirect standardisation by category: expected = Σ over categories of the body's
-- denominator times the rate of all bodies in that category; adjusted_rate = rate of all
-- bodies × numerator / expected. A body that does as all do in each of its categories gets the
-- rate of all, however hard its mix.
-- low, high: the 95 % Wilson interval of the body's own rate, scaled the same way.
-- rank: 1 + the number of bodies whose whole interval lies above; bodies that cannot be
-- told apart so share a rank, and the best share rank 1.
-- verdict: 'ranked', or 'insufficient data' where the denominator is below 30: then there is
-- no rate and no rank, and the body is still a row.
-- Cases without a body are in neither. A period whose cases are young favours quick
-- categories: compare periods that are over.
-- Source: DOMAIN §5, "Ranking of bodies"; formulas: indirect standardisation (N. E. Breslow and
-- N. E. Day, "Statistical Methods in Cancer Research II", IARC 1987, ch. 2), functions wilson_low and
-- wilson_high.
WITH cells AS (
  SELECT source, substr(CAST(day AS VARCHAR), 1, 7) AS period, body, coalesce(category, '') AS category,
         numerator, denominator
  FROM metrics.:metric_cells WHERE body IS NOT NULL AND day IS NOT NULL
  UNION ALL
  SELECT source, 'all', body, coalesce(category, ''), numerator, denominator
  FROM metrics.:metric_cells WHERE body IS NOT NULL AND day IS NOT NULL
), bodies AS (
  SELECT source, period, body, category, sum(numerator) AS numerator, sum(denominator) AS denominator
  FROM cells GROUP BY 1, 2, 3, 4
), categories AS (
  SELECT source, period, category, sum(numerator) / CAST(sum(denominator) AS DOUBLE) AS rate
  FROM bodies GROUP BY 1, 2, 3
), overall AS (
  SELECT source, period, sum(numerator) / CAST(sum(denominator) AS DOUBLE) AS rate FROM bodies GROUP BY 1, 2
), standardised AS (
  SELECT b.source, b.period, b.body, sum(b.numerator) AS numerator, sum(b.denominator) AS denominator,
         sum(b.denominator * c.rate) AS expected
  FROM bodies b JOIN categories c
    ON c.source = b.source AND c.period = b.period AND c.category = b.category
  GROUP BY 1, 2, 3
), rated AS (
  SELECT s.source, s.period, s.body, s.numerator, s.denominator, s.expected,
         s.denominator >= 30 AND s.expected > 0 AS enough,
         o.rate * s.numerator / s.expected AS adjusted_rate,
         o.rate * s.denominator * wilson_low(s.numerator, s.denominator, 1.959964) / s.expected AS low,
         o.rate * s.denominator * wilson_high(s.numerator, s.denominator, 1.959964) / s.expected AS high
  FROM standardised s JOIN overall o ON o.source = s.source AND o.period = s.period
), beaten AS (
  SELECT a.source, a.period, a.body, count(*) AS better
  FROM rated a JOIN rated b ON b.source = a.source AND b.period = a.period AND b.low > a.high
  WHERE a.enough AND b.enough GROUP BY 1, 2, 3
)
SELECT r.source, r.period, r.body, r.numerator, r.denominator, r.denominator AS n,
       CASE WHEN r.enough THEN r.expected END AS expected,
       CASE WHEN r.enough THEN r.adjusted_rate END AS adjusted_rate,
       CASE WHEN r.enough THEN r.low END AS low, CASE WHEN r.enough THEN r.high END AS high,
       CASE WHEN r.enough THEN 1 + coalesce(b.better, 0) END AS rank,
       CASE WHEN r.enough THEN 'ranked' ELSE 'insufficient data' END AS verdict, :as_of AS as_of
FROM rated r LEFT JOIN beaten b ON b.source = r.source AND b.period = r.period AND b.body = r.body
