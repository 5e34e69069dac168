-- Incident desk: one row is the whole state of a task after one change.
--
-- Zone: "29/2/2016 01:16", no zone stated, taken as UTC; to the minute.
-- Missing is "?" and not blank.
-- Order: by sys_updated_at, then sys_mod_count. The minute is too coarse alone: 9,318
-- tasks have several changes in one, and in 16 of them made_sla differs within the
-- last. The count is not enough alone either: on 5 tasks it contradicts the time,
-- and 5 pairs of different rows share one count.
--
-- Edge cases of 141,712 rows, 24,918 tasks:
--   closed_at, resolved_at and closed_code stand on *every* row of a task, also on
--     those written before it was closed: they are read from rows in state Closed
--     only, and the time of closing is that row's own; the last equals closed_at on
--     all 24,918
--   closed rows repeat after closing on 57 tasks (edits); the last one counts, as in
--     closed_at
--   12 tasks go from Closed back to Active and are closed again; 319 changes go from
--     Resolved back to work, which is a claim refused and not a closed task reopened.
--     A row does not say that *it* reopened: reopen_count is kept as an attribute
--   5 rows have the state "-100" (unknown): no status
--   5 tasks have a change dated before they were opened: kept as dated
--   made_sla starts true and only turns false: last true 15,803, last false 9,115
-- Waiting states (Awaiting User Info, ...) are statuses, not pauses: this source
-- states no rule by which its clock stops.
-- The caller is a person: hashed. Groups and officers are numbers already.

-- Every row says when the task was opened.
SELECT
  _record,
  'received' AS kind,
  parse_when(opened_at, 'UTC', '%d/%m/%Y %H:%M') AS occurred_at,
  TRY_CAST(sys_mod_count AS BIGINT) AS version,
  NULL AS status,
  NULL AS outcome,
  NULL AS category,
  NULL AS body,
  NULL AS attributes,
  CASE WHEN TRY_CAST(sys_mod_count AS BIGINT) IS NULL THEN 'sys_mod_count is not a number' END AS set_aside
FROM raw

UNION ALL

-- The change itself.
SELECT
  _record,
  CASE
    WHEN ident_state = 'Closed' THEN 'closed'
    WHEN ident_state = 'Resolved' THEN 'done_claimed'
    WHEN assignment_group <> '?' THEN 'assigned'
    ELSE 'updated'
  END AS kind,
  parse_when(sys_updated_at, 'UTC', '%d/%m/%Y %H:%M') AS occurred_at,
  TRY_CAST(sys_mod_count AS BIGINT) AS version,
  nullif(ident_state, '-100') AS status,
  CASE
    WHEN ident_state <> 'Closed' THEN NULL
    WHEN resolved_at <> '?' THEN 'resolved'
    ELSE 'unstated'
  END AS outcome,
  nullif(category, '?') AS category,
  nullif(assignment_group, '?') AS body,
  json_object(
    'made_sla', made_sla,
    'priority', priority,
    'subcategory', nullif(category_2, '?'),
    'channel', contact_type,
    'officer', nullif(assigned_to, '?'),
    'applicant', keyed_hash(nullif(caller_id, '?')),
    'reassignments', reassignment_count,
    'reopened', reopen_count,
    'close_code', CASE WHEN ident_state = 'Closed' THEN nullif(closed_code, '?') END
  ) AS attributes,
  CASE WHEN TRY_CAST(sys_mod_count AS BIGINT) IS NULL THEN 'sys_mod_count is not a number' END AS set_aside
FROM raw
