-- title: Call centre: abandoned
-- unit: ratio
-- body: the line. category: the local hour of the call, as the mapping gives it.
-- numerator: the caller gave up before a person answered.
-- denominator: calls offered.
-- A caller who was called back has the outcome called_back and is not abandoned.
-- A call is not a case: it is told by telephony's own records, of the regime 'call'.
-- Source: DOMAIN §5, "Call centre". Day: the local day of the call.
SELECT p.case_id, p.source, p.body, p.category, p.territory, p.received_on AS day,
       CASE WHEN p.outcome = 'abandoned' THEN 1 ELSE 0 END AS numerator, 1 AS denominator
FROM parts p JOIN cases c ON c.case_id = p.case_id
WHERE c.regime = 'call' AND p.received_at IS NOT NULL
