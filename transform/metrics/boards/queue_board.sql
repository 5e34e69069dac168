-- title: Queue board
-- unit: tickets
-- By hall, class of ticket (self-service, priority and accessible apart) and day: tickets,
-- called, served, no-shows, abandoned, still waiting; called within the norm, of those with
-- one. wait_p50_us and wait_p90_us are Kaplan–Meier over called and not (null: not reached),
-- as metrics.queue_wait counts them.
-- Source: DOMAIN §5, "Queue".
WITH tickets AS (
  SELECT p.source, p.body AS hall, p.category AS class, p.received_on AS day,
         count(*) AS tickets,
         count(p.called_at) AS called,
         sum(CASE WHEN p.outcome = 'served' THEN 1 ELSE 0 END) AS served,
         sum(CASE WHEN p.outcome = 'no_show' THEN 1 ELSE 0 END) AS no_show,
         sum(CASE WHEN p.outcome = 'abandoned' THEN 1 ELSE 0 END) AS abandoned,
         sum(CASE WHEN p.called_at IS NULL AND p.ended_at IS NULL AND c.state = 'open' THEN 1 ELSE 0 END) AS waiting,
         sum(CASE WHEN p.called_at <= p.due_at THEN 1 ELSE 0 END) AS in_time,
         count(p.due_at) AS with_norm
  FROM core.parts p JOIN core.cases c ON c.case_id = p.case_id
  WHERE c.regime = 'front_office_visit' AND p.received_at IS NOT NULL
  GROUP BY 1, 2, 3, 4
), waits AS (
  SELECT source, body AS hall, category AS class, day,
         km_quantile(duration_us, observed, n, 0.5) AS wait_p50_us,
         km_quantile(duration_us, observed, n, 0.9) AS wait_p90_us
  FROM metrics.queue_wait_cells GROUP BY 1, 2, 3, 4
)
SELECT t.source, t.hall, t.class, t.day, t.tickets, t.called, t.served, t.no_show, t.abandoned, t.waiting,
       t.in_time, t.with_norm, w.wait_p50_us, w.wait_p90_us, :as_of AS as_of
FROM tickets t LEFT JOIN waits w
  ON w.source = t.source AND (w.hall IS NOT DISTINCT FROM t.hall)
 AND (w.class IS NOT DISTINCT FROM t.class) AND w.day = t.day
