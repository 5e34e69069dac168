-- title: Queue: called within the norm
-- unit: ratio
-- body: the hall. category: the class of the ticket (self-service, priority, accessible, …),
-- as the mapping gives it. One contribution per ticket: a visit may have several.
-- numerator: last called at or before the due instant of the ticket (so many minutes after it
--   was taken, or after its slot; the mapping sets it).
-- denominator: tickets with a norm, those never called included.
-- Source: DOMAIN §5, "Queue". Day: the local day of the ticket.
SELECT p.case_id, p.source, p.body, p.category, p.territory, p.received_on AS day,
       CASE WHEN p.called_at <= p.due_at THEN 1 ELSE 0 END AS numerator, 1 AS denominator
FROM parts p JOIN cases c ON c.case_id = p.case_id
WHERE c.regime = 'front_office_visit' AND p.received_at IS NOT NULL AND p.due_at IS NOT NULL
