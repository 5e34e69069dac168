-- title: Flaws
-- unit: cases
-- What the records say that cannot be true, or contradicts itself, by name: cases that are kept
-- and flagged. Figures say in their headers which of them they leave out. Records that could
-- not be used at all are in ops.dead_letters.
-- numerator: cases with the flaw. denominator: cases of the source.
-- Source: DOMAIN §5; names are the words of core.cases.flaws.
WITH named AS (
  SELECT source, unnest(string_to_array(flaws, ',')) AS flaw FROM core.cases WHERE flaws IS NOT NULL
), counted AS (
  SELECT source, flaw, count(*) AS numerator FROM named GROUP BY 1, 2
), totals AS (
  SELECT source, count(*) AS denominator FROM core.cases GROUP BY 1
)
SELECT c.source, c.flaw, c.numerator, t.denominator, c.numerator AS n, :as_of AS as_of
FROM counted c JOIN totals t ON t.source = c.source
