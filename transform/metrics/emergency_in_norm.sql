-- title: Emergency: first arrival within the norm
-- unit: ratio
-- Of the incidents with a norm for their category, how many had a unit on scene by then.
-- numerator: the first unit on scene came at or before the due instant of that unit.
-- denominator: incidents with a unit on scene and a norm. The norm is configuration: the
--   mapping sets it as the due instant of each unit.
-- Incidents without an arrival stamp or without a norm are in neither; test, duplicate and
-- cancelled ones too (counted by emergency_excluded).
-- Source: DOMAIN §5, "Emergency stages", §1, "112". Day: local day of the call.
SELECT p.case_id, p.source, p.body, p.category, p.territory, p.received_on AS day,
       CASE WHEN p.on_scene_at <= p.due_at THEN 1 ELSE 0 END AS numerator, 1 AS denominator
FROM parts p JOIN cases c ON c.case_id = p.case_id
WHERE p.first_on_scene AND p.due_at IS NOT NULL AND p.on_scene_at >= p.received_at
  AND coalesce(c.outcome, '') NOT IN ('test', 'duplicate', 'cancelled')
