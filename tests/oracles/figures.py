#!/usr/bin/env python3
"""The figures the examples must give, computed straight from the files.

An oracle: it shares no line with the product, reads no table of it and knows no
mapping. Standard library only (the tz database of the system, or PyPI `tzdata`).

    figures.py [--data DIR] [--only EXAMPLE] [--check]

Prints one JSON object a line: {"name": ..., "value": ...}. Names are
`<example>.<figure>[_<unit>]`. With --check it compares what the project's issue
states (EXPECTED below) and exits 1 if any figure differs. DIR is
${AHUAL_SHARED:-../shared}/data by default.

Quantiles are nearest rank: the smallest observed t with F(t) >= q.
"""

import argparse
import csv
import gzip
import json
import math
import os
import re
import sys
from collections import Counter, defaultdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

csv.field_size_limit(1 << 30)

UTC = timezone.utc
NEW_YORK = ZoneInfo("America/New_York")
AMSTERDAM = ZoneInfo("Europe/Amsterdam")

# What the issue asserts. Everything else printed is there to be used.
EXPECTED = {
    "boston-2011.cases": 58_251,
    "boston-2011.closed": 54_570,
    "boston-2011.resolve_p50_h": 22.1764,
    "boston-2011.resolve_p90_h": 1899.4978,
    "boston-2011.resolve_p95_h": 5185.9481,
    "boston-2011.zone_ignored_p90_h": 1899.4761,
    "boston-2011.with_target": 47_270,
    "boston-2011.closed_by_target_instant": 35_591,
    "boston-2011.closed_by_target_date": 36_284,
    "boston-2011.as_of_2012.closed": 48_372,
    "boston-2011.as_of_2012.closed_only_p50_h": 15.0742,
    "boston-2011.as_of_2012.closed_only_p90_h": 452.3056,
    "boston-2011.as_of_2012.km_p50_h": 27.5339,
    "boston-2011.as_of_2012.km_p90_h": None,
    "boston-2011.as_of_2012.km_last_survival": 0.120932,
    "boston-2019.cases": 8_928,
    "boston-2019.open": 3_843,
    "nyc-2024.cases": 1_000,
    "nyc-2024.rows_that_differ": 0,
    "zurich.reports": 62_245,
    "zurich.exact_repeats": 232,
    "sffd-2020.rows": 10_410,
    "sffd-2020.incidents": 5_292,
    "sffd-2020.unit_on_scene_n": 8_694,
    "sffd-2020.unit_on_scene_p50_min": 7.4333,
    "sffd-2020.unit_on_scene_p90_min": 17.5833,
    "sffd-2020.first_on_scene_n": 5_118,
    "sffd-2020.first_on_scene_p50_min": 7.0,
    "sffd-2020.first_on_scene_p90_min": 17.1167,
    "montgomery.incidents": 99_492,
    "montgomery.ems": 48_877,
    "montgomery.traffic": 35_695,
    "montgomery.fire": 14_920,
    "itsm.rows": 141_712,
    "itsm.tasks": 24_918,
    "itsm.resolve_p50_h": 145.8667,
    "itsm.resolve_p90_h": 532.5833,
    "itsm.made_sla_true": 15_803,
    "itsm.made_sla_false": 9_115,
    "wabo.rows": 8_577,
    "wabo.cases": 1_434,
}


def rows(path):
    """Rows of a gzipped CSV; a header said twice gets `_2`, a blank cell is None."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        seen, names = Counter(), []
        for name in next(reader):
            seen[name] += 1
            names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
        for number, cells in enumerate(reader, start=2):
            if len(cells) != len(names):
                raise ValueError(f"{path}: row {number} has {len(cells)} cells, not {len(names)}")
            yield {n: (c if c.strip() else None) for n, c in zip(names, cells)}


def local(text, zone, form=None):
    """A local time as an instant; an ambiguous one is the earlier."""
    if text is None:
        return None
    naive = datetime.strptime(text, form) if form else datetime.fromisoformat(text)
    return naive.replace(tzinfo=zone, fold=0).astimezone(UTC)


def rank(values, percent):
    """Nearest rank of a list, None when empty."""
    values = sorted(values)
    return values[-(-percent * len(values) // 100) - 1] if values else None


def hours(seconds):
    return None if seconds is None else seconds / 3600


def kaplan_meier(times, percents):
    """(quantiles in the unit of `times`, survival after the last observation).

    `times` is a list of (duration, whether it ended). At one duration the ends come
    before the ones merely seen until then.
    """
    ended, leaving = Counter(), Counter()
    for duration, has_ended in times:
        leaving[duration] += 1
        ended[duration] += has_ended
    at_risk, survival, found = len(times), 1.0, {}
    for duration in sorted(leaving):
        survival *= 1 - ended[duration] / at_risk
        at_risk -= leaving[duration]
        for percent in percents:
            if percent not in found and 1 - survival >= percent / 100:
                found[percent] = duration
    return [found.get(p) for p in percents], survival


def boston(path, target):
    out = []
    for row in rows(path):
        out.append((
            local(row["open_dt"], NEW_YORK),
            local(row["closed_dt"], NEW_YORK),
            local(row[target], NEW_YORK),
            row,
        ))
    return out


def boston_2011(data):
    cases = boston(data / "311/boston311_2011H2.csv.gz", "target_dt")
    seconds = [(c - o).total_seconds() for o, c, _, _ in cases if c]
    yield "cases", len({row["case_enquiry_id"] for *_, row in cases})
    yield "rows", len(cases)
    yield "closed", len(seconds)
    for percent in (50, 90, 95):
        yield f"resolve_p{percent}_h", hours(rank(seconds, percent))
    plain = datetime.fromisoformat
    ignored = [
        (plain(r["closed_dt"]) - plain(r["open_dt"])).total_seconds() for _, c, _, r in cases if c
    ]
    yield "zone_ignored_p90_h", hours(rank(ignored, 90))
    yield "closed_before_opened", sum(s < 0 for s in seconds)
    yield "closed_when_opened", sum(s == 0 for s in seconds)
    yield "with_target", sum(t is not None for _, _, t, _ in cases)
    yield "target_before_opening", sum(t is not None and t < o for o, _, t, _ in cases)
    yield "closed_by_target_instant", sum(bool(c and t and c <= t) for _, c, t, _ in cases)
    day = lambda at: at.astimezone(NEW_YORK).date()
    yield "closed_by_target_date", sum(bool(c and t and day(c) <= day(t)) for _, c, t, _ in cases)
    default = [r for *_, r in cases if (r["latitude"], r["longitude"]) == ("42.3594", "-71.0587")]
    yield "on_default_point", len(default)

    as_of = datetime(2012, 1, 1, tzinfo=NEW_YORK).astimezone(UTC)
    seen = [(o, c if c and c <= as_of else None) for o, c, _, _ in cases if o <= as_of]
    closed = [(c - o).total_seconds() for o, c in seen if c]
    yield "as_of_2012.cases", len(seen)
    yield "as_of_2012.closed", len(closed)
    yield "as_of_2012.closed_only_p50_h", hours(rank(closed, 50))
    yield "as_of_2012.closed_only_p90_h", hours(rank(closed, 90))
    (p50, p90), survival = kaplan_meier(
        [(((c or as_of) - o).total_seconds(), c is not None) for o, c in seen], (50, 90)
    )
    yield "as_of_2012.km_p50_h", hours(p50)
    yield "as_of_2012.km_p90_h", hours(p90)
    yield "as_of_2012.km_last_survival", round(survival, 6)
    yield "as_of_2012.open_and_overdue", sum(
        1 for o, c, t, _ in cases if o <= as_of and not (c and c <= as_of) and t and t < as_of
    )


def boston_2019(data):
    cases = boston(data / "311/boston311_2019_animal_newschema.csv.gz", "sla_target_dt")
    seconds = [(c - o).total_seconds() for o, c, _, _ in cases if c]
    yield "cases", len({row["case_enquiry_id"] for *_, row in cases})
    yield "rows", len(cases)
    yield "open", sum(c is None for _, c, _, _ in cases)
    yield "closed", len(seconds)
    yield "with_target", sum(t is not None for _, _, t, _ in cases)
    yield "closed_by_target_instant", sum(bool(c and t and c <= t) for _, c, t, _ in cases)
    yield "resolve_p50_h", hours(rank(seconds, 50))
    yield "resolve_p90_h", hours(rank(seconds, 90))


def nyc_2024(data):
    from_csv = {r["unique_key"]: r for r in rows(data / "311/nyc311_soda_1000_2024.csv.gz")}
    with gzip.open(data / "311/nyc311_soda_1000_2024.json.gz", "rt", encoding="utf-8") as file:
        from_json = {r["unique_key"]: r for r in json.load(file)}

    def plain(row):
        """What both formats can say in the same words."""
        out = {}
        for name, value in row.items():
            if value is None or name == "location":
                continue
            whole = re.fullmatch(r"(\d+)\.0", value)
            out[name] = whole[1] if whole else value
        return out

    yield "cases", len(from_json)
    yield "rows", len(from_json) + len(from_csv)
    yield "rows_that_differ", sum(
        plain(from_json.get(key, {})) != plain(from_csv.get(key, {}))
        for key in from_json.keys() | from_csv.keys()
    )
    yield "closed", sum(bool(r.get("closed_date")) for r in from_json.values())
    yield "with_due_date", sum(bool(r.get("due_date")) for r in from_json.values())
    seconds = [
        (local(r["closed_date"], NEW_YORK) - local(r["created_date"], NEW_YORK)).total_seconds()
        for r in from_json.values() if r.get("closed_date")
    ]
    yield "resolve_p50_h", hours(rank(seconds, 50))
    yield "resolve_p90_h", hours(rank(seconds, 90))


def lv95_to_wgs84(easting, northing):
    """(longitude, latitude) in degrees, rigorous.

    Swiss oblique Mercator inverted in closed form on the Bessel ellipsoid, then the
    federal three-parameter shift CH1903+ -> WGS 84 (swisstopo, "Formulas and
    constants for the calculation of the Swiss conformal cylindrical projection").
    """
    a, e2 = 6377397.155, 0.006674372230614
    e = math.sqrt(e2)
    lat0 = math.radians(46 + 57 / 60 + 8.66 / 3600)
    lon0 = math.radians(7 + 26 / 60 + 22.50 / 3600)
    radius = a * math.sqrt(1 - e2) / (1 - e2 * math.sin(lat0) ** 2)
    alpha = math.sqrt(1 + e2 / (1 - e2) * math.cos(lat0) ** 4)
    b0 = math.asin(math.sin(lat0) / alpha)
    k = (
        math.log(math.tan(math.pi / 4 + b0 / 2))
        - alpha * math.log(math.tan(math.pi / 4 + lat0 / 2))
        + alpha * e / 2 * math.log((1 + e * math.sin(lat0)) / (1 - e * math.sin(lat0)))
    )
    l1 = (easting - 2_600_000) / radius
    b1 = 2 * (math.atan(math.exp((northing - 1_200_000) / radius)) - math.pi / 4)
    b = math.asin(math.cos(b0) * math.sin(b1) + math.sin(b0) * math.cos(b1) * math.cos(l1))
    l = math.atan2(math.sin(l1), math.cos(b0) * math.cos(l1) - math.sin(b0) * math.tan(b1))
    lon, lat = lon0 + l / alpha, b
    for _ in range(20):
        s = (math.log(math.tan(math.pi / 4 + b / 2)) - k) / alpha + e * math.log(
            math.tan(math.pi / 4 + math.asin(e * math.sin(lat)) / 2)
        )
        lat = 2 * math.atan(math.exp(s)) - math.pi / 2
    n = a / math.sqrt(1 - e2 * math.sin(lat) ** 2)
    x = n * math.cos(lat) * math.cos(lon) + 674.374
    y = n * math.cos(lat) * math.sin(lon) + 15.056
    z = n * (1 - e2) * math.sin(lat) + 405.346
    a, f = 6378137.0, 1 / 298.257223563
    e2 = f * (2 - f)
    p, lat = math.hypot(x, y), math.atan2(z, math.hypot(x, y) * (1 - e2))
    for _ in range(20):
        n = a / math.sqrt(1 - e2 * math.sin(lat) ** 2)
        lat = math.atan2(z + e2 * n * math.sin(lat), p)
    return math.degrees(math.atan2(y, x)), math.degrees(lat)


def zurich(data):
    reports = list(rows(data / "311/zueriwieneu_lv95.csv.gz"))
    contents = Counter(tuple(r.values()) for r in reports)
    yield "reports", len(reports)
    yield "rows", len(reports)
    yield "exact_repeats", len(reports) - len(contents)
    yield "contents_that_repeat", sum(n > 1 for n in contents.values())
    yield "days", len({r["date"] for r in reports})
    points = {(int(r["e"]), int(r["n"])) for r in reports}
    by_northing = [(e, n) for n, e in sorted((n, e) for e, n in points)]
    corners = [min(points), max(points), by_northing[0], by_northing[-1]]
    for easting, northing in corners:
        lon, lat = lv95_to_wgs84(easting, northing)
        yield f"point_{easting}_{northing}_degrees", [round(lon, 8), round(lat, 8)]


def sffd_2020(data):
    form = "%m/%d/%Y %I:%M:%S %p"
    zone = ZoneInfo("America/Los_Angeles")
    units, first = [], defaultdict(list)
    incidents, count = set(), 0
    for row in rows(data / "cad/sffd_cad_2020-04.csv.gz"):
        count += 1
        incidents.add(row["Call Number"])
        received = local(row["Received DtTm"], zone, form)
        on_scene = local(row["On Scene DtTm"], zone, form)
        if received and on_scene:
            seconds = (on_scene - received).total_seconds()
            units.append(seconds)
            first[row["Call Number"]].append(seconds)
    firsts = [min(times) for times in first.values()]
    yield "rows", count
    yield "incidents", len(incidents)
    yield "unit_on_scene_n", len(units)
    yield "unit_on_scene_p50_min", rank(units, 50) / 60
    yield "unit_on_scene_p90_min", rank(units, 90) / 60
    yield "first_on_scene_n", len(firsts)
    yield "first_on_scene_p50_min", rank(firsts, 50) / 60
    yield "first_on_scene_p90_min", rank(firsts, 90) / 60
    yield "first_on_scene_ties", sum(times.count(min(times)) > 1 for times in first.values())


def montgomery(data):
    classes, zips, stamped, far, total = Counter(), 0, 0, 0, 0
    for row in rows(data / "cad/montgomery911_2015-12_2016-08.csv.gz"):
        total += 1
        classes[row["title"].split(":")[0].lower()] += 1
        zips += row["zip"] is None
        stamped += re.search(r"\d{4}-\d\d-\d\d @ \d\d:\d\d:\d\d", row["desc"]) is not None
        far += not (39.5 <= float(row["lat"]) <= 41 and -76.5 <= float(row["lng"]) <= -74.5)
    yield "incidents", total
    yield "rows", total
    yield from classes.items()
    yield "without_zip", zips
    yield "with_own_time", stamped
    yield "points_far_away", far


def itsm(data):
    form = "%d/%m/%Y %H:%M"
    tasks, total = defaultdict(list), 0
    for row in rows(data / "tasks/itsm_incident_event_log.csv.gz"):
        total += 1
        tasks[row["number"]].append(row)
    seconds, sla, closings_repeated, back_from_closed = [], Counter(), 0, 0
    for changes in tasks.values():
        changes.sort(key=lambda r: (datetime.strptime(r["sys_updated_at"], form), int(r["sys_mod_count"])))
        last = changes[-1]
        sla[last["made_sla"]] += 1
        opened = datetime.strptime(last["opened_at"], form)
        seconds.append((datetime.strptime(last["closed_at"], form) - opened).total_seconds())
        states = [r["ident_state"] for r in changes]
        closings_repeated += states.count("Closed") > 1
        back_from_closed += any(a == "Closed" != b for a, b in zip(states, states[1:]))
    yield "rows", total
    yield "tasks", len(tasks)
    yield "resolve_p50_h", hours(rank(seconds, 50))
    yield "resolve_p90_h", hours(rank(seconds, 90))
    yield "made_sla_true", sla["true"]
    yield "made_sla_false", sla["false"]
    yield "tasks_closed_more_than_once", closings_repeated
    yield "tasks_back_from_closed", back_from_closed


def wabo(data):
    cases, total = defaultdict(list), 0
    for row in rows(data / "tasks/receipt_wabo.csv.gz"):
        total += 1
        cases[row["case:concept:name"]].append(row)
    when = datetime.fromisoformat
    closed, by_instant, by_date, held, changes, same_day = 0, 0, 0, 0, 0, 0
    for steps in cases.values():
        steps.sort(key=lambda r: when(r["time:timestamp"]))
        case = steps[0]
        if case["case:enddate"]:
            closed += 1
            end, due, start = (when(case[f"case:{n}"]) for n in ("enddate", "deadline", "startdate"))
            same_day += end < start
            end = max(end, start)
            by_instant += end <= due
            by_date += end.astimezone(AMSTERDAM).date() <= due.astimezone(AMSTERDAM).date()
        groups = [s["org:group"] for s in steps if s["org:group"] != "EMPTY"]
        held += bool(groups)
        changes += sum(a != b for a, b in zip(groups, groups[1:]))
    yield "rows", total
    yield "cases", len(cases)
    yield "closed", closed
    yield "ended_before_start", same_day
    yield "closed_by_deadline_instant", by_instant
    yield "closed_by_deadline_date", by_date
    yield "cases_ever_held_by_a_group", held
    yield "changes_of_holder", changes


EXAMPLES = {
    "boston-2011": boston_2011,
    "boston-2019": boston_2019,
    "nyc-2024": nyc_2024,
    "zurich": zurich,
    "sffd-2020": sffd_2020,
    "montgomery": montgomery,
    "itsm": itsm,
    "wabo": wabo,
}


def agrees(expected, value):
    if isinstance(expected, float):
        return value is not None and abs(value - expected) <= 0.00005
    return value == expected


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("AHUAL_SHARED", "../shared")) / "data"
    parser.add_argument("--data", type=Path, default=default, help="folder of the real files")
    parser.add_argument("--only", choices=sorted(EXAMPLES), help="one example")
    parser.add_argument("--check", action="store_true", help="compare with what the issue states")
    args = parser.parse_args()
    if not args.data.is_dir():
        print(f"no folder {args.data}: name one with --data or AHUAL_SHARED", file=sys.stderr)
        return 2
    wrong = 0
    for example, figures in EXAMPLES.items():
        if args.only not in (None, example):
            continue
        got = {f"{example}.{name}": value for name, value in figures(args.data)}
        for name, value in got.items():
            print(json.dumps({"name": name, "value": value}))
        if args.check:
            for name, expected in EXPECTED.items():
                if name.startswith(f"{example}.") and not (name in got and agrees(expected, got[name])):
                    wrong += 1
                    print(f"{name}: expected {expected}, got {got.get(name)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
