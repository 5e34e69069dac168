-- title: Repeat complaints
-- unit: ratio
-- Of the complaints whose applicant has a key, how many came within 30 days of another of the
-- same applicant on the same topic. Complaints are requests to 109, formal and social appeals.
-- numerator: repeats. denominator: with a keyed applicant and a category. n: all complaints.
-- denominator over n is the coverage: anonymous applicants have no key and cannot repeat.
-- The key is attributes.applicant, the keyed hash of a phone or number; the same across
-- sources of one deployment. A repeat stands on the day and body of the later complaint.
-- Whether a complaint repeats depends on another case, so this is no sum over cases and is
-- not kept: it is formed at read, by one pass in order of receipt.
-- Source: DOMAIN §5, "Repeat complaints".
WITH complaints AS (
  SELECT case_id, source, body, category, territory, received_on, received_at,
         CASE WHEN category IS NOT NULL THEN json_text(attributes, 'applicant') END AS applicant
  FROM core.cases
  WHERE regime IN ('request_109', 'formal_appeal', 'social_appeal') AND received_at IS NOT NULL
), ordered AS (
  SELECT *, lag(received_at) OVER (PARTITION BY applicant, category ORDER BY received_at, case_id) AS before_at
  FROM complaints
)
SELECT source, body, category, territory, received_on AS day,
       sum(CASE WHEN applicant IS NOT NULL AND elapsed_us(before_at, received_at) <= 2592000000000
                THEN 1 ELSE 0 END) AS numerator,
       count(applicant) AS denominator, count(*) AS n, :as_of AS as_of
FROM ordered GROUP BY 1, 2, 3, 4, 5
