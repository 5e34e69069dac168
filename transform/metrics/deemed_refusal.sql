-- title: Deemed refusals
-- unit: ratio
-- Of the formal appeals due on a day, how many had no act when their term expired: by law
-- refused in silence. An outcome, not a close: such an appeal stays open until it is closed.
-- numerator: open past its term, or closed after it.
-- denominator: closed, or open past its term. An open appeal whose term still runs is in
--   neither.
-- Merged, split and withdrawn appeals, and those without a deadline, are in neither.
-- Source: DOMAIN §2, "Silence". Day: the local day of the due date in force.
SELECT case_id, source, body, category, territory, due_on AS day,
       CASE WHEN state = 'open' OR closed_at > due_at THEN 1 ELSE 0 END AS numerator,
       1 AS denominator
FROM cases
WHERE regime = 'formal_appeal' AND due_at >= received_at
  AND (state = 'closed' OR (state = 'open' AND due_at < :as_of))
