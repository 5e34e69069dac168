-- title: Satisfaction
-- unit: ratio
-- Of the applicants who gave a score, how many gave 4 or 5. Three is neutral, and neutral is
-- not positive. Read it beside feedback_response: those who answer are not all.
-- numerator: last score 4 or 5. denominator: a score from 1 to 5.
-- Source: DOMAIN §5, "Satisfaction". Day: received_on.
SELECT case_id, source, body, category, territory, received_on AS day,
       CASE WHEN score >= 4 THEN 1 ELSE 0 END AS numerator, 1 AS denominator
FROM cases
WHERE score BETWEEN 1 AND 5 AND received_on IS NOT NULL
