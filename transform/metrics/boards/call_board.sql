-- title: Call centre board
-- unit: calls
-- By line, hour and day: offered, queued, answered, answered within the norm, abandoned, called
-- back, transferred. Every call is offered; a call can be queued, answered and transferred at
-- once. Rates with their denominators are the metrics call_answered, call_in_time and
-- call_abandoned; the time to answer is call_wait.
-- Source: DOMAIN §5, "Call centre".
SELECT p.source, p.body AS line, p.category AS hour, p.received_on AS day,
       count(*) AS offered,
       count(p.queued_at) AS queued,
       count(p.answered_at) AS answered,
       sum(CASE WHEN p.answered_at <= p.due_at THEN 1 ELSE 0 END) AS in_time,
       sum(CASE WHEN p.outcome = 'abandoned' THEN 1 ELSE 0 END) AS abandoned,
       sum(CASE WHEN p.outcome = 'called_back' THEN 1 ELSE 0 END) AS called_back,
       sum(CASE WHEN p.outcome = 'transferred' THEN 1 ELSE 0 END) AS transferred,
       :as_of AS as_of
FROM core.parts p JOIN core.cases c ON c.case_id = p.case_id
WHERE c.regime = 'call' AND p.received_at IS NOT NULL
GROUP BY 1, 2, 3, 4
