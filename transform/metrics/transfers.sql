-- title: Transfers per case
-- unit: transfers per case
-- How often the cases received on a day went from one body to another.
-- numerator: times a case went from the body that held it to another.
-- denominator: cases received; no enquiry, call or post.
-- A gap between two bodies is no transfer, nor is a first assignment. Cases whose source
-- names no body have none.
-- Source: DOMAIN §5, "Bounces, custody". Day: received_on.
SELECT case_id, source, body, category, territory, received_on AS day,
       transfers AS numerator, 1 AS denominator
FROM cases
WHERE received_on IS NOT NULL AND coalesce(regime, '') NOT IN ('enquiry', 'call', 'post')
