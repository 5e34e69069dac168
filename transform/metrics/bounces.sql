-- title: Ping-pong
-- unit: ratio
-- Of the cases received on a day, how many came back to a body that had given them away.
-- numerator: came back at least once. denominator: cases received; no enquiry, call or post.
-- Going to a third body is a transfer and no bounce; a reopened case that goes on where it
-- was has not moved.
-- Source: DOMAIN §5, "Bounces, custody". Day: received_on.
SELECT case_id, source, body, category, territory, received_on AS day,
       CASE WHEN bounces > 0 THEN 1 ELSE 0 END AS numerator, 1 AS denominator
FROM cases
WHERE received_on IS NOT NULL AND coalesce(regime, '') NOT IN ('enquiry', 'call', 'post')
