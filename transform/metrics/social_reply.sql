-- title: Akims' social networks: replied in time
-- unit: ratio
-- matures: 0 days
-- Of the threads addressed to an account whose term ended on a day, how many had an official
-- reply by then. body: the account's holder.
-- numerator: first official reply at or before the due instant.
-- denominator: addressed threads with a term. The term is configuration: the mapping sets it.
-- Moving to direct messages is an interim reply and does not count. Spam and an account's
-- own posts are in neither; accounts that are not connected have no threads, not zero.
-- Figures leave out days that are not over; the cells have them.
-- Source: DOMAIN §5, "Akim social reply". Day: the local day of the due date.
SELECT case_id, source, body, category, territory, due_on AS day,
       CASE WHEN first_response_at <= due_at THEN 1 ELSE 0 END AS numerator, 1 AS denominator
FROM cases
WHERE regime = 'social_appeal' AND due_at >= received_at
  AND state NOT IN ('merged', 'split', 'withdrawn')
  AND coalesce(outcome, '') NOT IN ('spam', 'own_post')
