-- title: Akims' social networks board
-- unit: threads, posts and replies
-- By account's holder and week (its Monday): posts and official replies written, threads
-- addressed, and of those whether an official reply has come yet. Accounts that are not
-- connected say nothing and have no row: that is not zero.
-- Source: DOMAIN §5, "Akim social reply".
WITH told AS (
  SELECT source, body AS holder, CAST(date_trunc('week', day) AS DATE) AS week,
         denominator AS posts, numerator AS replies, 0 AS addressed, 0 AS replied
  FROM metrics.social_activity_cells
  UNION ALL
  SELECT source, body, CAST(date_trunc('week', day) AS DATE), 0, 0, denominator, numerator
  FROM metrics.social_reply_time_cells
)
SELECT source, holder, week, sum(posts) AS posts, sum(replies) AS replies,
       sum(addressed) AS addressed, sum(replied) AS replied, :as_of AS as_of
FROM told GROUP BY 1, 2, 3
