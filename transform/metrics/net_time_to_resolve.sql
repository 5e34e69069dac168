-- title: Time to resolve, net of pauses
-- unit: microseconds
-- time_to_resolve without the time the clock was paused; gross stands in time_to_resolve.
-- Pauses count only where the source's mapping lists their reason, overlapping ones once,
-- and none for formal appeals, whose term nothing stops: their net is their gross.
-- numerator: closed. denominator: closed and open. An open case is censored at the moment
-- of reading; a pause that lasts is taken off up to there.
-- Who is in neither: as time_to_resolve.
-- Source: DOMAIN §5, "Clock pauses". Day: received_on.
SELECT case_id, source, body, category, territory, received_on AS day,
       CASE WHEN state = 'closed' THEN 1 ELSE 0 END AS numerator,
       1 AS denominator,
       elapsed_us(received_at, CASE WHEN state = 'closed' THEN closed_at ELSE :as_of END)
         - CASE WHEN coalesce(regime, '') = 'formal_appeal' THEN 0
                ELSE paused_us + CASE WHEN state = 'open' AND paused_since_at <= :as_of
                                      THEN elapsed_us(paused_since_at, :as_of) ELSE 0 END
           END AS duration_us,
       state = 'closed' AS observed
FROM cases
WHERE received_at IS NOT NULL AND state IN ('open', 'closed')
  AND (closed_at IS NULL OR closed_at >= received_at)
  AND (state <> 'open' OR received_at <= :as_of)
  AND coalesce(regime, '') NOT IN ('enquiry', 'call', 'post') AND coalesce(outcome, '') <> 'enquiry'
