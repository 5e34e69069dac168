-- title: Outcome classes
-- unit: cases
-- One row per case: how it ended, or stands. Of a closed case its outcome ('unstated' where
-- the source does not say); of another its state; of a formal appeal still open past its term,
-- 'deemed_refusal': by law refused in silence. That is formed at read and closes nothing; when
-- an act comes after all, the case has that act's outcome.
-- Source: DOMAIN §2, "Silence"; §5, "Completion rate".
SELECT case_id, source, regime, body, category, territory, received_on AS day, state,
       CASE WHEN state = 'closed' THEN coalesce(outcome, 'unstated')
            WHEN state = 'open' AND regime = 'formal_appeal' AND due_at < :as_of THEN 'deemed_refusal'
            ELSE state END AS outcome_class,
       disappeared_at, :as_of AS as_of
FROM core.cases
