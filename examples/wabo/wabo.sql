-- Dutch permit applications: one row is one completed step; what concerns the
-- application (case:*) is equal on all its rows.
--
-- Zone: every stamp carries its offset, +01:00 or +02:00, always that of
-- Europe/Amsterdam at the time; with milli- or microseconds or without.
--
-- Edge cases of 8,577 rows, 1,434 applications:
--   105 applications (617 rows) have no end: open
--   2 applications (4 rows: case-10862, case-8267) end before they start, on the
--     same local day: one stamp is that day at 01:06:40, the other at 00:00. Such
--     stamps are days (two traces of one conversion, with 0.01 or 0.02 s added), so
--     the end is dated to the start; the duration is zero days
--   2 applications (12 rows) have steps before their start: kept as dated
--   145 applications have steps after their end: late paperwork, not a reopening
--   group EMPTY (1,936 rows) is no group: the step is news, not an assignment
--   deadlines: every application has one; closed by it 952 to the instant, 1,020 by
--     day, of 1,329 closed
-- Officers are numbers (48) and belong to the office, not to the applicant.

WITH told AS (
  SELECT
    _record,
    parse_when("case:startdate", 'Europe/Amsterdam') AS started_at,
    parse_when("case:enddate", 'Europe/Amsterdam') AS ended_at,
    parse_when("case:deadline", 'Europe/Amsterdam') AS due_at,
    parse_when("time:timestamp", 'Europe/Amsterdam') AS done_at,
    "concept:name" AS step,
    nullif("org:group", 'EMPTY') AS body,
    "org:resource" AS officer,
    json_object(
      'channel', "case:channel",
      'department', "case:department",
      'responsible', "case:responsible",
      'planned_end', "case:enddate_planned"
    ) AS attributes
  FROM raw
)

-- The application was filed: said again by every row, in the same words.
SELECT
  _record,
  'received' AS kind,
  started_at AS occurred_at,
  NULL AS status,
  NULL AS outcome,
  NULL AS body,
  NULL AS due_at,
  NULL AS basis,
  attributes
FROM told

UNION ALL

-- The deadline counts from the filing.
SELECT
  _record,
  'deadline_set' AS kind,
  started_at AS occurred_at,
  NULL AS status,
  NULL AS outcome,
  NULL AS body,
  due_at,
  'case:deadline' AS basis,
  NULL AS attributes
FROM told

UNION ALL

-- A group did a step, and so holds the application.
SELECT
  _record,
  CASE WHEN body IS NULL THEN 'updated' ELSE 'assigned' END AS kind,
  done_at AS occurred_at,
  step AS status,
  NULL AS outcome,
  body,
  NULL AS due_at,
  NULL AS basis,
  json_object('officer', officer) AS attributes
FROM told

UNION ALL

-- The first step is the registration.
SELECT
  _record,
  'registered' AS kind,
  done_at AS occurred_at,
  NULL AS status,
  NULL AS outcome,
  NULL AS body,
  NULL AS due_at,
  NULL AS basis,
  NULL AS attributes
FROM told
WHERE step = 'Confirmation of receipt'

UNION ALL

-- The application was decided; how is not said.
SELECT
  _record,
  'closed' AS kind,
  CASE
    WHEN ended_at < started_at
      AND local_date(ended_at, 'Europe/Amsterdam') = local_date(started_at, 'Europe/Amsterdam')
      THEN started_at
    ELSE ended_at
  END AS occurred_at,
  NULL AS status,
  'unstated' AS outcome,
  NULL AS body,
  NULL AS due_at,
  NULL AS basis,
  NULL AS attributes
FROM told
WHERE ended_at IS NOT NULL
