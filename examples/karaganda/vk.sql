-- VK: one record is one post or one comment at the wall of an akim's community. A case is
-- a thread: a resident's comment under a post (or a resident's own post on the wall), with
-- every answer to it.
--
-- Zone: seconds since 1970, UTC. Comments have no version of their own: what was read last
-- stands. Whose wall it is, and whether the account itself speaks (`own`), stands in the
-- record: the directory of accounts said so when it was read.
--
-- Edge cases:
--   own posts have the regime `post`: they are activity, not complaints
--   an own answer is the first response, unless all it says is to write privately: that
--     is an interim one. Each first response is an `official_reply` of its own, too
--   deleted: VK does not say when. A thread whose comment is gone is withdrawn with the
--     outcome 'deleted' at the moment we found out (its append stamp); an answer that is
--     gone is no answer any more
-- Texts are read to tell such answers, and given to nobody; who wrote is hashed.

WITH told AS (
  SELECT
    _record,
    _record_id,
    _record_id = _case_key AS opens,
    _appended_at,
    own = 'true' AS own,
    account,
    body,
    kato,
    coalesce(post_deleted, comment_deleted, 'false') IN ('true', '1') AS gone,
    keyed_hash(coalesce(post_from, comment_from)) AS applicant,
    lower(coalesce(post_text, comment_text, '')) AS said,
    parse_when(coalesce(post_date, comment_date), 'UTC', '%s') AS said_at
  FROM raw
),

sorted AS (
  SELECT
    *,
    CASE WHEN said_at IS NULL THEN 'no date' END AS set_aside,
    CASE
      WHEN opens THEN 'received'
      WHEN gone THEN 'updated'
      WHEN own AND regexp_like(said, 'жеке хабарлама|личн(ые|ое) сообщени|в личку|в директ|direct') THEN 'interim_response'
      WHEN own THEN 'first_response'
      ELSE 'updated'
    END AS kind
  FROM told
)

SELECT
  _record,
  kind,
  said_at AS occurred_at,
  CASE WHEN own AND opens THEN 'post' END AS regime,
  CASE WHEN kind = 'updated' THEN _record_id END AS part_id,
  CASE
    WHEN gone THEN 'deleted'
    WHEN kind = 'received' AND own THEN 'posted'
    WHEN kind = 'received' THEN 'open'
  END AS status,
  NULL AS outcome,
  CASE WHEN opens THEN body END AS body,
  CASE WHEN opens THEN kato END AS territory,
  json_object('account', account, 'network', 'vk', 'applicant', CASE WHEN NOT own THEN applicant END) AS attributes,
  set_aside
FROM sorted

UNION ALL
SELECT _record, 'withdrawn', CASE WHEN opens AND gone THEN _appended_at END, NULL, NULL, 'deleted', 'deleted',
       NULL, NULL, NULL, NULL
FROM sorted

UNION ALL
SELECT _record, 'stage', CASE WHEN kind = 'first_response' THEN said_at END, NULL, _record_id, 'received',
       'official_reply', body, kato, NULL, NULL
FROM sorted
