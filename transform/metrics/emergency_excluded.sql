-- title: Emergency: left out of the stages
-- unit: ratio
-- Of the incidents of a day, how many were tests, duplicates or cancelled, and so are in no
-- emergency time.
-- numerator: outcome 'test', 'duplicate' or 'cancelled'. denominator: all incidents.
-- By outcome: metrics.emergency_board.
-- Source: DOMAIN §5, "Emergency stages". Day: received_on.
SELECT case_id, source, body, category, territory, received_on AS day,
       CASE WHEN outcome IN ('test', 'duplicate', 'cancelled') THEN 1 ELSE 0 END AS numerator,
       1 AS denominator
FROM cases
WHERE regime = 'incident_112' AND received_on IS NOT NULL
