-- title: Akims' social networks: time to reply
-- unit: microseconds
-- From a thread being addressed to the first official reply. Threads without one are censored
-- at their close or at the moment of reading. body: the account's holder.
-- numerator: replied. denominator: addressed.
-- Spam, an account's own posts and negative durations are in neither.
-- Source: DOMAIN §5, "Akim social reply". Day: received_on.
SELECT case_id, source, body, category, territory, received_on AS day,
       CASE WHEN first_response_at IS NOT NULL THEN 1 ELSE 0 END AS numerator, 1 AS denominator,
       elapsed_us(received_at, coalesce(first_response_at, closed_at, :as_of)) AS duration_us,
       first_response_at IS NOT NULL AS observed
FROM cases
WHERE regime = 'social_appeal' AND state IN ('open', 'closed') AND received_at IS NOT NULL
  AND coalesce(outcome, '') NOT IN ('spam', 'own_post')
  AND (first_response_at IS NULL OR first_response_at >= received_at)
  AND (closed_at IS NULL OR closed_at >= received_at)
  AND (state <> 'open' OR received_at <= :as_of)
