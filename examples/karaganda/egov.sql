-- Open data portal: one row is the whole state of one document taken in by a one-stop
-- hall, changed in place (`modified`). The newest state supersedes all earlier ones.
--
-- Zone: "2026-03-01 09:30:00", local time of Asia/Almaty, not stated. `modified` is the
-- portal's own stamp, and stands for the version that rows have not.
--
-- Edge cases:
--   numbers come as number or as text (`id`, `kato`): all columns are text here
--   the result ends the term; that the paper was fetched weeks later does not
--   `due_on` is a day: the term ends with it
--   states between are not told: a row that changed twice between two looks is seen once

WITH told AS (
  SELECT
    _record,
    number,
    service,
    kato,
    body,
    status,
    result,
    parse_when(filed_at, 'Asia/Almaty') AS filed_at,
    parse_when(due_on, 'Asia/Almaty') AS due_at,
    parse_when(result_at, 'Asia/Almaty') AS result_at,
    parse_when(issued_at, 'Asia/Almaty') AS issued_at,
    parse_when(modified, 'Asia/Almaty') AS modified_at,
    CASE
      WHEN filed_at IS NULL THEN 'no filed_at'
      WHEN modified IS NULL THEN 'no modified'
      WHEN result IS NOT NULL AND result NOT IN ('granted', 'refused') THEN concat('unknown result: ', result)
    END AS set_aside
  FROM raw
)

SELECT
  _record,
  'received' AS kind,
  filed_at AS occurred_at,
  -- Also makes an unreadable `modified` set the record aside.
  modified_at AS recorded_at,
  modified_at AS version,
  'accepted' AS status,
  NULL AS outcome,
  service AS category,
  body,
  kato AS territory,
  NULL AS due_at,
  NULL AS basis,
  json_object('number', number) AS attributes,
  set_aside
FROM told

UNION ALL
SELECT _record, 'deadline_set', CASE WHEN due_at IS NOT NULL THEN filed_at END, modified_at, modified_at AS version,
       NULL, NULL, NULL, NULL, NULL, due_at, 'term of the service', NULL, NULL
FROM told

UNION ALL
SELECT _record, 'assigned', filed_at, modified_at, modified_at AS version,
       CASE WHEN status = 'accepted' THEN NULL ELSE 'in_work' END, NULL, NULL, body, NULL, NULL, NULL, NULL, NULL
FROM told

UNION ALL
SELECT _record, 'closed', result_at, modified_at, modified_at AS version,
       'ready', CASE result WHEN 'granted' THEN 'resolved' WHEN 'refused' THEN 'rejected' END, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM told

UNION ALL
SELECT _record, 'updated', issued_at, modified_at, modified_at AS version,
       'issued', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM told
