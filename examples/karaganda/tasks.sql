-- Tasks of the state's information systems: one record is one event of a task. A
-- corrected event comes again under its `event_id` with a higher `version`.
--
-- Zone: instants are UTC ("2026-03-01T04:30:00Z"); `due_on` is a local day of
-- Asia/Almaty and lasts until its end, which is why the source compares by date.
--
-- Edge cases:
--   'returned' means control refused a claim: the task was never closed, so it was not
--     reopened either; the word is passed on as it is
--   an extension may be written down after the term had passed; `recorded_at` tells, and
--     the fold then does not count it
--   closed by control is the only close; how well it was done is not said, but control
--     closes nothing undone: outcome 'resolved'

WITH told AS (
  SELECT
    _record,
    TRY_CAST(version AS BIGINT) AS version,
    event,
    parse_when(happened_at, 'UTC') AS happened_at,
    parse_when(recorded_at, 'UTC') AS recorded_at,
    executor,
    coalesce(category_of('tasks', topic), topic) AS topic,
    district,
    due_on,
    reason,
    system,
    CASE
      WHEN happened_at IS NULL THEN 'no time'
      WHEN TRY_CAST(version AS BIGINT) IS NULL THEN 'version is not a number'
      WHEN event IS NULL THEN 'no event'
      WHEN event = 'assigned' AND due_on IS NULL THEN 'assigned without a due day'
    END AS set_aside
  FROM raw
)

SELECT
  _record,
  CASE event
    WHEN 'assigned' THEN 'received'
    WHEN 'extended' THEN 'deadline_extended'
    ELSE event
  END AS kind,
  happened_at AS occurred_at,
  recorded_at,
  version,
  event AS status,
  CASE WHEN event = 'closed' THEN 'resolved' END AS outcome,
  topic AS category,
  executor AS body,
  district AS territory,
  -- The last second of the day; compared by date, so the hour does not matter.
  CASE WHEN event = 'extended' THEN parse_when(concat(due_on, ' 23:59:59'), 'Asia/Almaty') END AS due_at,
  CASE WHEN event = 'extended' THEN 'extended on request' END AS basis,
  reason,
  json_object('system', system) AS attributes,
  set_aside
FROM told

UNION ALL
-- Being assigned also sets the term and makes the executor responsible.
SELECT
  _record, 'deadline_set', CASE WHEN event = 'assigned' THEN happened_at END, recorded_at, version, NULL, NULL, NULL, executor, NULL,
  parse_when(concat(due_on, ' 23:59:59'), 'Asia/Almaty'), 'set with the task', NULL, NULL, NULL
FROM told

UNION ALL
SELECT
  _record, 'assigned', CASE WHEN event = 'assigned' THEN happened_at END, recorded_at, version, NULL, NULL, NULL, executor, NULL,
  NULL, NULL, NULL, NULL, NULL
FROM told
