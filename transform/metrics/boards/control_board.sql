-- title: Personal control board
-- unit: cases
-- The open cases under personal control, one row each: by whom and since when, how old, and
-- how long overdue (null: it is not, or has no deadline).
-- Counts by holder: metrics.personal_control.
-- Source: DOMAIN §5, "Personal control".
SELECT source, controlled_by AS holder, controlled_at, case_id, category, body, received_at, due_at,
       elapsed_us(received_at, :as_of) AS age_us,
       CASE WHEN due_at < :as_of THEN elapsed_us(due_at, :as_of) END AS overdue_us,
       :as_of AS as_of
FROM core.cases
WHERE controlled_by IS NOT NULL AND state = 'open' AND received_at <= :as_of
