-- title: How cases end, and when
-- unit: probability
-- The probability that a case has by then been closed, withdrawn or merged, within 1, 3, 7, 15,
-- 30 and 90 days of its receipt: cumulative incidence with the other endings as competing ones
-- (Aalen–Johansen), open cases censored at the moment of reading. One minus Kaplan–Meier
-- for each ending alone would overstate all of them. The three and open_share add up to 1.
-- n: cases received. Split cases are counted in their children; enquiries, calls, posts and
-- cases that ended before they were received are left out.
-- Source: DOMAIN §5, "p50/p90/p95"; formula: function cumulative_incidence.
WITH lives AS (
  SELECT source, category, elapsed_us(received_at, coalesce(ended_at, :as_of)) AS duration_us,
         CASE WHEN state <> 'open' THEN state END AS cause, CAST(1 AS BIGINT) AS one
  FROM core.cases
  WHERE received_at IS NOT NULL AND coalesce(ended_at, :as_of) >= received_at AND state <> 'split'
    AND coalesce(regime, '') NOT IN ('enquiry', 'call', 'post') AND coalesce(outcome, '') <> 'enquiry'
), horizons AS (
  SELECT days, CAST(days * 86400000000 AS BIGINT) AS at_us
  FROM (VALUES (1), (3), (7), (15), (30), (90)) AS horizon(days)
), incidence AS (
  SELECT l.source, l.category, h.days,
         cumulative_incidence(l.duration_us, l.cause, l.one, 'closed', h.at_us) AS closed_share,
         cumulative_incidence(l.duration_us, l.cause, l.one, 'withdrawn', h.at_us) AS withdrawn_share,
         cumulative_incidence(l.duration_us, l.cause, l.one, 'merged', h.at_us) AS merged_share,
         count(*) AS n
  FROM lives l CROSS JOIN horizons h GROUP BY 1, 2, 3
)
SELECT source, category, days, closed_share, withdrawn_share, merged_share,
       1.0 - closed_share - withdrawn_share - merged_share AS open_share, n, :as_of AS as_of
FROM incidence
