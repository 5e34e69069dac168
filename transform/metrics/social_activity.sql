-- title: Akims' social networks: activity
-- unit: official replies per post
-- What an account wrote on a day. body: the account's holder. A week is seven days of it:
-- metrics.social_board.
-- numerator: official replies, in threads of residents or under its own posts.
-- denominator: its own posts.
-- Comments of residents are in neither.
-- Source: DOMAIN §5, "Akim social reply". Day: the local day of the post or reply.
SELECT case_id, source, body, category, territory, received_on AS day, 0 AS numerator, 1 AS denominator
FROM cases
WHERE regime = 'post' AND received_on IS NOT NULL
UNION ALL
SELECT p.case_id, p.source, p.body, p.category, p.territory, p.received_on AS day, 1 AS numerator, 0 AS denominator
FROM parts p JOIN cases c ON c.case_id = p.case_id
WHERE p.outcome = 'official_reply' AND c.regime IN ('social_appeal', 'post') AND p.received_on IS NOT NULL
