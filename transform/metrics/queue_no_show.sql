-- title: Queue: no-shows
-- unit: ratio
-- body: the hall. category: the class of the ticket (self-service, priority, accessible, …),
-- as the mapping gives it. One contribution per ticket: a visit may have several.
-- numerator: was called and did not come.
-- denominator: tickets called.
-- Source: DOMAIN §5, "Queue". Day: the local day of the ticket.
SELECT p.case_id, p.source, p.body, p.category, p.territory, p.received_on AS day,
       CASE WHEN p.outcome = 'no_show' THEN 1 ELSE 0 END AS numerator, 1 AS denominator
FROM parts p JOIN cases c ON c.case_id = p.case_id
WHERE c.regime = 'front_office_visit' AND p.received_at IS NOT NULL AND p.called_at IS NOT NULL
