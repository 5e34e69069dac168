-- Telegram: one record is one message of an akim's channel or of its discussion, said
-- again with a higher version when it is edited. A case is a thread: what a resident
-- writes under a post (or to the bot), with every answer to it and to those.
--
-- Zone: seconds since 1970, UTC. The version is the time of the last edit.
-- Whose account it is, and whether the account itself speaks (`own`), stands in the
-- record: the directory of accounts said so when it was read.
--
-- Edge cases:
--   own posts have the regime `post`: they are activity, not complaints; the copies that
--     open their discussions are news about the post
--   an own answer is the first response, unless all it says is to write privately: that
--     is an interim one. Each first response is an `official_reply` of its own, too
--   what a resident says later in the thread is news about it, nothing else
--   a message that was deleted is not told to bots: it stays
-- Texts are read to tell such answers, and given to nobody; who wrote is hashed.

WITH told AS (
  SELECT
    _record,
    _record_id,
    _record_id = _case_key AS opens,
    own = 'true' AS own,
    account,
    body,
    kato,
    coalesce(m_forward, e_forward) = 'true' AS copied,
    keyed_hash(coalesce(m_from, e_from)) AS applicant,
    lower(coalesce(m_text, e_text, m_caption, e_caption, '')) AS said,
    parse_when(coalesce(m_date, e_date, p_date, pe_date), 'UTC', '%s') AS said_at,
    parse_when(coalesce(e_edited, pe_edited, m_date, e_date, p_date, pe_date), 'UTC', '%s') AS written_at
  FROM raw
),

sorted AS (
  SELECT
    *,
    CASE
      WHEN said_at IS NULL THEN 'no date'
    END AS set_aside,
    CASE
      WHEN opens THEN 'received'
      WHEN own AND copied THEN 'posted'
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
  written_at AS recorded_at,
  written_at AS version,
  CASE WHEN own AND (opens OR copied) THEN 'post' END AS regime,
  CASE WHEN kind = 'updated' THEN _record_id END AS part_id,
  CASE WHEN kind <> 'received' THEN NULL WHEN own THEN 'posted' ELSE 'open' END AS status,
  NULL AS outcome,
  CASE WHEN kind IN ('received', 'posted') THEN body END AS body,
  CASE WHEN kind IN ('received', 'posted') THEN kato END AS territory,
  json_object('account', account, 'network', 'telegram', 'applicant', CASE WHEN NOT own THEN applicant END) AS attributes,
  set_aside
FROM sorted

UNION ALL
SELECT _record, 'stage', CASE WHEN kind = 'first_response' THEN said_at END, written_at, written_at AS version, NULL, _record_id,
       'received', 'official_reply', body, kato, NULL, NULL
FROM sorted
