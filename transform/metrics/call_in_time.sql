-- title: Call centre: answered within the norm
-- unit: ratio
-- body: the line. category: the local hour of the call, as the mapping gives it.
-- numerator: a person answered at or before the due instant of the call (so many seconds after
--   it was offered; the mapping sets it).
-- denominator: calls offered.
-- Abandoned calls stay in the denominator, however soon they were.
-- A call is not a case: it is told by telephony's own records, of the regime 'call'.
-- Source: DOMAIN §5, "Call centre". Day: the local day of the call.
SELECT p.case_id, p.source, p.body, p.category, p.territory, p.received_on AS day,
       CASE WHEN p.answered_at <= p.due_at THEN 1 ELSE 0 END AS numerator, 1 AS denominator
FROM parts p JOIN cases c ON c.case_id = p.case_id
WHERE c.regime = 'call' AND p.received_at IS NOT NULL
