-- title: Emergency: travel time
-- unit: microseconds
-- From the unit being on its way to its being on scene.
-- One contribution per unit. A missing stamp drops the stage, not the incident; a stamp
-- before the one it is measured from drops it too. Test, duplicate and cancelled
-- incidents carry the outcomes 'test', 'duplicate', 'cancelled' and are left out.
-- numerator = denominator = n: stages measured.
-- Source: DOMAIN §5, "Emergency stages". Day: local day of the call.
SELECT p.case_id, p.source, p.body, p.category, p.territory, p.received_on AS day,
       1 AS numerator, 1 AS denominator,
       elapsed_us(p.en_route_at, p.on_scene_at) AS duration_us, true AS observed
FROM parts p JOIN cases c ON c.case_id = p.case_id
WHERE p.en_route_at IS NOT NULL AND p.on_scene_at IS NOT NULL AND p.on_scene_at >= p.en_route_at
  AND coalesce(c.outcome, '') NOT IN ('test', 'duplicate', 'cancelled')
