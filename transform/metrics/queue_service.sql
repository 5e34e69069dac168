-- title: Queue: service time
-- unit: microseconds
-- From the last call to the end of the service.
-- body: the hall. category: the class of the ticket (self-service, priority, accessible, …),
-- as the mapping gives it. One contribution per ticket: a visit may have several.
-- numerator = denominator = n: tickets served to the end. Those who did not come, and services that still last,
-- are in neither.
-- Source: DOMAIN §5, "Queue". Day: the local day of the ticket.
SELECT p.case_id, p.source, p.body, p.category, p.territory, p.received_on AS day,
       1 AS numerator, 1 AS denominator,
       elapsed_us(p.called_at, p.ended_at) AS duration_us, true AS observed
FROM parts p JOIN cases c ON c.case_id = p.case_id
WHERE c.regime = 'front_office_visit' AND p.outcome = 'served' AND p.ended_at >= p.called_at
