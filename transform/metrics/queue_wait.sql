-- title: Queue: waiting time
-- unit: microseconds
-- From taking the ticket to the last call to a counter; of a booking, from its slot, if that
-- was later than the arrival. Tickets never called are censored: when they ended (the visitor
-- left, the hall closed), or, while the visit is open, at the moment of reading.
-- body: the hall. category: the class of the ticket (self-service, priority, accessible, …),
-- as the mapping gives it. One contribution per ticket: a visit may have several.
-- numerator: called. denominator: called and not.
-- Called before the slot: no wait (zero). A ticket neither called nor ended of a visit that
-- has ended is in neither.
-- Source: DOMAIN §5, "Queue". Day: the local day of the ticket.
SELECT case_id, source, body, category, territory, day,
       CASE WHEN called THEN 1 ELSE 0 END AS numerator, 1 AS denominator,
       greatest(elapsed_us(from_at, until_at), 0) AS duration_us, called AS observed
FROM (
  SELECT p.case_id, p.source, p.body, p.category, p.territory, p.received_on AS day,
         p.called_at IS NOT NULL AS called, p.received_at,
         CASE WHEN p.slot_at > p.received_at THEN p.slot_at ELSE p.received_at END AS from_at,
         coalesce(p.called_at, p.ended_at, CASE WHEN c.state = 'open' THEN :as_of END) AS until_at
  FROM parts p JOIN cases c ON c.case_id = p.case_id
  WHERE c.regime = 'front_office_visit' AND p.received_at IS NOT NULL
) AS ticket
WHERE until_at >= received_at
