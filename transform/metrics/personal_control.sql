-- title: Personal control
-- unit: cases
-- Open cases a head has taken under personal control, by who took them, and how many of them
-- are past their due instant.
-- numerator: overdue. denominator: open and under control. body: who took it, not who is
-- responsible.
-- duration_us: how long ago it was received.
-- A mark that was lifted, and a case that has ended, are in neither.
-- Source: DOMAIN §5, "Personal control". Day: received_on.
SELECT case_id, source, controlled_by AS body, category, territory, received_on AS day,
       CASE WHEN due_at < :as_of THEN 1 ELSE 0 END AS numerator, 1 AS denominator,
       elapsed_us(received_at, :as_of) AS duration_us, true AS observed
FROM cases
WHERE controlled_by IS NOT NULL AND state = 'open' AND received_at <= :as_of
