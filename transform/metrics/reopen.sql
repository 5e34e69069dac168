-- title: Reopen rate
-- unit: ratio
-- matures: 30 days
-- Of the cases first closed on a day, how many were opened again within 30 days (720 hours).
-- numerator: the first reopening came at most 720 hours after the first close.
-- denominator: closed at least once; no enquiry, call or post.
-- A case reopened later, or a second time, counts as not reopened, or once. Withdrawn
-- and merged cases count if they had been closed. Figures leave out days whose 30 days are
-- not over; the cells (metrics.reopen_cells) have them all.
-- Source: DOMAIN §5, "Reopen rate". Day: first_closed_on.
SELECT case_id, source, body, category, territory, first_closed_on AS day,
       CASE WHEN elapsed_us(first_closed_at, first_reopened_at) <= 2592000000000 THEN 1 ELSE 0 END AS numerator,
       1 AS denominator
FROM cases
WHERE first_closed_at IS NOT NULL
  AND coalesce(regime, '') NOT IN ('enquiry', 'call', 'post') AND coalesce(outcome, '') <> 'enquiry'
