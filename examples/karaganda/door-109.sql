-- 109 contact centre: one record is the whole state of one contact, said again with a
-- higher `version` whenever it changes. The newest version supersedes all earlier ones,
-- so a corrected close is a correction and not a reopening.
--
-- Zone: "2026-03-01 09:30:00", local time of Asia/Almaty, not stated.
-- A contact is a complaint (regime request_109) or an enquiry answered on the line
-- (regime enquiry, outcome 'enquiry'): the latter is never counted as a solved problem.
--
-- Edge cases:
--   reopened once at most: `first_closed_at` is then the first close, whose outcome the
--     record no longer tells ('unstated'), and `closed_at` the last
--   transferred once at most: `first_body` held it until then, `body` after
--   `due_at` is the term in force, `first_due_at` the one promised first. When an
--     extension was set is `extended_at`; the source does not say when it was written
--     down, so `recorded_at` is not given
--   `district` may be the code of a place that left the region in 2022: passed on as it
--     is and named (flaw territory_ended); `kato_at` knows what it is now
-- Every event says the regime: what says none would count as the source's own.
-- The applicant's name is not read; phone and number are hashed.

WITH told AS (
  SELECT
    _record,
    TRY_CAST(version AS BIGINT) AS version,
    CASE WHEN kind = 'enquiry' THEN 'enquiry' ELSE 'request_109' END AS regime,
    -- Our category; a word that is none of ours stays, and ops.unmapped_categories counts it.
    coalesce(category_of('door-109', category), category) AS category,
    district AS territory,
    TRY_CAST(longitude AS DOUBLE) AS longitude,
    TRY_CAST(latitude AS DOUBLE) AS latitude,
    first_body,
    body,
    status,
    coalesce(outcome, 'unstated') AS outcome,
    TRY_CAST(score AS INT) AS score,
    parse_when(created_at, 'Asia/Almaty') AS created_at,
    parse_when(assigned_at, 'Asia/Almaty') AS assigned_at,
    parse_when(transferred_at, 'Asia/Almaty') AS transferred_at,
    parse_when(first_due_at, 'Asia/Almaty') AS first_due_at,
    parse_when(due_at, 'Asia/Almaty') AS due_at,
    parse_when(extended_at, 'Asia/Almaty') AS extended_at,
    parse_when(answered_at, 'Asia/Almaty') AS answered_at,
    parse_when(first_closed_at, 'Asia/Almaty') AS first_closed_at,
    parse_when(reopened_at, 'Asia/Almaty') AS reopened_at,
    parse_when(closed_at, 'Asia/Almaty') AS closed_at,
    parse_when(withdrawn_at, 'Asia/Almaty') AS withdrawn_at,
    parse_when(scored_at, 'Asia/Almaty') AS scored_at,
    json_object(
      'applicant', keyed_hash(phone),
      'applicant_number', keyed_hash(iin),
      'street', address,
      'district_name', district_name
    ) AS attributes,
    CASE
      WHEN created_at IS NULL THEN 'no created_at'
      WHEN TRY_CAST(version AS BIGINT) IS NULL THEN 'version is not a number'
      WHEN kind NOT IN ('complaint', 'enquiry') THEN concat('unknown kind of contact: ', kind)
    END AS set_aside
  FROM raw
)

SELECT
  _record,
  'received' AS kind,
  created_at AS occurred_at,
  version,
  regime,
  'registered' AS status,
  NULL AS outcome,
  category,
  NULL AS body,
  territory,
  longitude,
  latitude,
  NULL AS due_at,
  NULL AS basis,
  NULL AS score,
  attributes,
  set_aside
FROM told

UNION ALL
SELECT _record, 'deadline_set', CASE WHEN first_due_at IS NOT NULL THEN created_at END, version, regime, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, first_due_at, '109 term of the category', NULL, NULL, NULL
FROM told

UNION ALL
SELECT _record, 'assigned', assigned_at, version, regime, 'in_progress', NULL, NULL,
       first_body, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM told

UNION ALL
SELECT _record, 'transferred', transferred_at, version, regime, NULL, NULL, NULL,
       body, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM told

UNION ALL
SELECT _record, 'deadline_extended', extended_at, version, regime, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, due_at, 'extended by the body', NULL, NULL, NULL
FROM told

UNION ALL
SELECT _record, 'first_response', answered_at, version, regime, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM told

UNION ALL
-- The first close of what was opened again.
SELECT _record, 'closed', CASE WHEN reopened_at IS NOT NULL THEN first_closed_at END, version, regime, 'closed', 'unstated', NULL,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM told

UNION ALL
SELECT _record, 'reopened', reopened_at, version, regime, 'reopened', NULL, NULL,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM told

UNION ALL
SELECT _record, 'closed', closed_at, version, regime, 'closed', outcome, NULL,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM told

UNION ALL
SELECT _record, 'withdrawn', withdrawn_at, version, regime, 'withdrawn', 'withdrawn', NULL,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM told

UNION ALL
SELECT _record, 'feedback', scored_at, version, regime, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL, NULL, score, NULL, NULL
FROM told
