-- title: Response rate of feedback
-- unit: ratio
-- Of the cases closed, how many applicants gave a score.
-- numerator: a score from 1 to 5. denominator: closed; no enquiry, call or post.
-- Source: DOMAIN §5, "Satisfaction". Day: received_on.
SELECT case_id, source, body, category, territory, received_on AS day,
       CASE WHEN score BETWEEN 1 AND 5 THEN 1 ELSE 0 END AS numerator, 1 AS denominator
FROM cases
WHERE state = 'closed' AND received_on IS NOT NULL
  AND coalesce(regime, '') NOT IN ('enquiry', 'call', 'post')
