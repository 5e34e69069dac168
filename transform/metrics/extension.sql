-- title: Extension rate
-- unit: ratio
-- Of the cases first due on a day, how many had that promise moved.
-- numerator: a due date was moved in time. An extension set after the deadline in force
--   had passed (by `recorded_at` where the source gives it) does not count as one.
-- denominator: cases with a deadline, by the first one promised.
-- Cases without a deadline are in neither; so are cases merged, split or withdrawn, and
-- those due before they were received.
-- Source: DOMAIN §5, "Extension rate". Day: the local day of the first due date.
SELECT case_id, source, body, category, territory, original_due_on AS day,
       CASE WHEN extended THEN 1 ELSE 0 END AS numerator,
       1 AS denominator
FROM cases
WHERE original_due_at IS NOT NULL AND state NOT IN ('merged', 'split', 'withdrawn')
  AND (received_at IS NULL OR original_due_at >= received_at)
