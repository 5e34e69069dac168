#!/usr/bin/env python3
"""What the metrics must say of given cases, computed without the product.

An oracle: it shares no line with the product and reads only the rows of `core.*`, exported
as JSON lines with instants as microseconds and days as numbers. Counts by DuckDB, Kaplan-Meier
and cumulative incidence by lifelines.

    metrics.py FOLDER AS_OF_US

FOLDER holds cases.jsonl, segments.jsonl, parts.jsonl. Prints one JSON object a line:

    {"cell": [metric, source, body, category, territory, day], "totals": [numerator, denominator, n]}
    {"quantile": [metric, source, q], "of": "closed" | "all", "us": N | null, "near": [N | null, N | null]}
    {"incidence": [source, category, days], "closed": x, "withdrawn": x, "merged": x}
    {"board": name, "row": {...}}

`near` are the observations just before and after a quantile: estimates in floating point may
part at a tie.
"""

import json
import math
import os
import sys
import warnings
from pathlib import Path

import duckdb
import pandas
from lifelines import AalenJohansenFitter, KaplanMeierFitter

DAY = 86_400_000_000
MONTH = 30 * DAY
NO_CASE = "('enquiry', 'call', 'post')"

CASES = {
    "case_id": "VARCHAR", "source": "VARCHAR", "regime": "VARCHAR", "state": "VARCHAR", "outcome": "VARCHAR",
    "category": "VARCHAR", "body": "VARCHAR", "territory": "VARCHAR", "received_at": "BIGINT", "received_on": "BIGINT",
    "first_response_at": "BIGINT", "due_at": "BIGINT", "due_on": "BIGINT", "original_due_at": "BIGINT",
    "original_due_on": "BIGINT", "due_compare": "VARCHAR", "first_closed_at": "BIGINT", "first_closed_on": "BIGINT",
    "closed_at": "BIGINT", "closed_on": "BIGINT", "ended_at": "BIGINT", "first_reopened_at": "BIGINT",
    "transfers": "BIGINT", "bounces": "BIGINT", "extended": "BOOLEAN", "paused_us": "BIGINT",
    "paused_since_at": "BIGINT", "controlled_by": "VARCHAR", "score": "BIGINT", "longitude": "DOUBLE",
    "latitude": "DOUBLE", "flaws": "VARCHAR", "attributes": "VARCHAR",
}
SEGMENTS = {
    "case_id": "VARCHAR", "ordinal": "BIGINT", "body": "VARCHAR", "clock": "VARCHAR", "from_at": "BIGINT",
    "to_at": "BIGINT",
}
PARTS = {
    "case_id": "VARCHAR", "source": "VARCHAR", "part_id": "VARCHAR", "category": "VARCHAR", "body": "VARCHAR",
    "territory": "VARCHAR", "outcome": "VARCHAR", "due_at": "BIGINT", "received_at": "BIGINT", "received_on": "BIGINT",
    "entered_at": "BIGINT", "dispatched_at": "BIGINT", "en_route_at": "BIGINT", "on_scene_at": "BIGINT",
    "slot_at": "BIGINT", "queued_at": "BIGINT", "called_at": "BIGINT", "answered_at": "BIGINT", "ended_at": "BIGINT",
}

# Tables the metrics are told from. Nobody counts an enquiry as a problem.
VIEWS = f"""
CREATE VIEW problems AS SELECT *, ifnull(regime, '') IN {NO_CASE} AS no_case, ifnull(outcome, '') = 'enquiry' AS answered_at_once,
  state IN ('merged', 'split', 'withdrawn') AS gone FROM cases;
CREATE VIEW counted AS SELECT * FROM problems WHERE NOT no_case AND NOT answered_at_once;
CREATE VIEW promised AS SELECT * FROM problems WHERE NOT gone AND due_at IS NOT NULL AND NOT ifnull(due_at < received_at, false);
CREATE VIEW first_promised AS SELECT * FROM problems WHERE NOT gone AND original_due_at IS NOT NULL
  AND NOT ifnull(original_due_at < received_at, false);
CREATE VIEW units AS SELECT p.* FROM parts p SEMI JOIN (FROM cases WHERE ifnull(outcome, '') NOT IN ('test', 'duplicate', 'cancelled')) c USING (case_id);
CREATE VIEW calls AS SELECT p.*, c.state FROM parts p JOIN cases c USING (case_id) WHERE c.regime = 'call';
CREATE VIEW tickets AS SELECT p.*, c.state FROM parts p JOIN cases c USING (case_id) WHERE c.regime = 'front_office_visit' AND p.received_at IS NOT NULL;
"""

# metric -> (FROM ... WHERE ..., day, numerator, denominator). Dimensions are the relation's own,
# except where a fifth entry names another body.
COUNTS = {
    "completion": ("counted WHERE received_on IS NOT NULL AND NOT gone", "received_on", "state = 'closed' AND outcome = 'resolved'", "1"),
    "on_time": ("promised", "due_on", "state = 'closed' AND closed_at <= due_at", "1"),
    "on_time_original": ("first_promised", "original_due_on", "state = 'closed' AND closed_at <= original_due_at", "1"),
    "extension": ("first_promised", "original_due_on", "extended", "1"),
    "overdue_backlog": ("problems WHERE state = 'open' AND received_at <= {now} AND ifnull(regime, '') NOT IN ('call', 'post')", "received_on", "ifnull(due_at < {now}, false)", "1"),
    "deadline_margin": ("cases WHERE state = 'closed' AND due_at IS NOT NULL AND NOT ifnull(due_at < received_at, false)", "closed_on", "closed_at <= due_at", "1"),
    "deemed_refusal": ("cases WHERE regime = 'formal_appeal' AND due_at >= received_at AND (state = 'closed' OR (state = 'open' AND {now} > due_at))", "due_on", "NOT (state = 'closed' AND closed_at <= due_at)", "1"),
    "reopen": ("counted WHERE first_closed_at IS NOT NULL", "first_closed_on", f"ifnull(first_reopened_at - first_closed_at <= {MONTH}, false)", "1"),
    "transfers": ("problems WHERE received_on IS NOT NULL AND NOT no_case", "received_on", "transfers", "1"),
    "bounces": ("problems WHERE received_on IS NOT NULL AND NOT no_case", "received_on", "bounces >= 1", "1"),
    "satisfaction": ("cases WHERE score IN (1, 2, 3, 4, 5) AND received_on IS NOT NULL", "received_on", "score IN (4, 5)", "1"),
    "feedback_response": ("problems WHERE state = 'closed' AND received_on IS NOT NULL AND NOT no_case", "received_on", "ifnull(score, 0) IN (1, 2, 3, 4, 5)", "1"),
    "personal_control": ("cases WHERE state = 'open' AND controlled_by IS NOT NULL AND received_at <= {now}", "received_on", "ifnull(due_at < {now}, false)", "1", "controlled_by"),
    "social_reply": ("problems WHERE regime = 'social_appeal' AND NOT gone AND ifnull(outcome, '') NOT IN ('spam', 'own_post') AND due_at >= received_at", "due_on", "ifnull(first_response_at <= due_at, false)", "1"),
    "call_answered": ("calls WHERE received_at IS NOT NULL", "received_on", "answered_at IS NOT NULL", "1"),
    "call_in_time": ("calls WHERE received_at IS NOT NULL", "received_on", "ifnull(answered_at <= due_at, false)", "1"),
    "call_abandoned": ("calls WHERE received_at IS NOT NULL", "received_on", "ifnull(outcome = 'abandoned', false)", "1"),
    "queue_no_show": ("tickets WHERE called_at IS NOT NULL", "received_on", "ifnull(outcome = 'no_show', false)", "1"),
    "queue_abandoned": ("tickets", "received_on", "ifnull(outcome = 'abandoned', false)", "1"),
    "queue_in_time": ("tickets WHERE due_at IS NOT NULL", "received_on", "ifnull(called_at <= due_at, false)", "1"),
    "emergency_excluded": ("cases WHERE regime = 'incident_112' AND received_on IS NOT NULL", "received_on", "ifnull(outcome, '') IN ('test', 'duplicate', 'cancelled')", "1"),
}


def first_on_scene():
    """Of each incident the unit that came first; of those that came at once, the first by name."""
    return """(SELECT * FROM units WHERE on_scene_at IS NOT NULL
               QUALIFY row_number() OVER (PARTITION BY case_id ORDER BY on_scene_at, part_id) = 1)"""


# metric -> (relation, day, duration, whether it ended). Rows with a negative duration drop out
# unless the metric may be negative.
TIMES = {
    "time_to_resolve": ("counted WHERE state IN ('open', 'closed') AND received_at IS NOT NULL", "received_on", "if(state = 'closed', closed_at, {now}) - received_at", "state = 'closed'"),
    "time_to_first_close": ("counted WHERE state IN ('open', 'closed') AND received_at <= if(state = 'open', {now}, received_at)", "received_on", "ifnull(first_closed_at, {now}) - received_at", "first_closed_at IS NOT NULL"),
    "time_to_first_response": ("problems WHERE ifnull(regime, '') NOT IN ('call', 'post') AND state IN ('open', 'closed') AND NOT ifnull(closed_at < received_at, false) AND received_at <= if(state = 'open', {now}, received_at)", "received_on", "coalesce(first_response_at, closed_at, {now}) - received_at", "first_response_at IS NOT NULL"),
    "social_reply_time": ("cases WHERE regime = 'social_appeal' AND state IN ('open', 'closed') AND ifnull(outcome, '') NOT IN ('spam', 'own_post') AND NOT ifnull(closed_at < received_at, false) AND received_at <= if(state = 'open', {now}, received_at)", "received_on", "coalesce(first_response_at, closed_at, {now}) - received_at", "first_response_at IS NOT NULL"),
    "call_wait": ("calls", "received_on", "coalesce(answered_at, ended_at, if(state = 'open', {now}, NULL)) - received_at", "answered_at IS NOT NULL"),
    "queue_service": ("tickets WHERE outcome = 'served'", "received_on", "ended_at - called_at", "true"),
    "emergency_answer": ("units", "received_on", "entered_at - received_at", "true"),
    "emergency_dispatch": ("units", "received_on", "dispatched_at - entered_at", "true"),
    "emergency_turnout": ("units", "received_on", "en_route_at - dispatched_at", "true"),
    "emergency_travel": ("units", "received_on", "on_scene_at - en_route_at", "true"),
    "emergency_arrival": ("units", "received_on", "on_scene_at - received_at", "true"),
    "emergency_first_arrival": (first_on_scene(), "received_on", "on_scene_at - received_at", "true"),
}


def load(folder):
    db = duckdb.connect()
    for name, columns in (("cases", CASES), ("segments", SEGMENTS), ("parts", PARTS)):
        file = folder / f"{name}.jsonl"
        shape = ", ".join(f"{column}: '{kind}'" for column, kind in columns.items())
        if file.stat().st_size:
            db.execute(f"CREATE TABLE {name} AS FROM read_json('{file}', format = 'newline_delimited', columns = {{{shape}}})")
        else:
            db.execute(f"CREATE TABLE {name} ({', '.join(f'{c} {k}' for c, k in columns.items())})")
    db.execute(VIEWS)
    return db


def say(**what):
    print(json.dumps(what, ensure_ascii=False))


def count(db, now):
    for name, (relation, day, numerator, denominator, *body) in COUNTS.items():
        cells(db, name, f"""SELECT source, {body[0] if body else 'body'} AS body, category, territory, {day} AS day,
            ifnull(CAST({numerator} AS BIGINT), 0) AS up, {denominator} AS down FROM {relation}""".format(now=now))
    # What was received and what was closed stand on different days of one figure.
    cells(db, "clearance", """
        SELECT source, body, category, territory, received_on AS day, 0 AS up, 1 AS down FROM counted
        WHERE received_on IS NOT NULL AND NOT gone
        UNION ALL BY NAME
        SELECT source, body, category, territory, closed_on AS day, 1 AS up, 0 AS down FROM counted
        WHERE state = 'closed' AND closed_on IS NOT NULL""")
    cells(db, "social_activity", """
        SELECT source, body, category, territory, received_on AS day, 0 AS up, 1 AS down FROM cases
        WHERE regime = 'post' AND received_on IS NOT NULL
        UNION ALL BY NAME
        SELECT source, body, category, territory, received_on AS day, 1 AS up, 0 AS down FROM parts
        WHERE outcome = 'official_reply' AND received_on IS NOT NULL
          AND case_id IN (SELECT case_id FROM cases WHERE regime IN ('social_appeal', 'post'))""")
    cells(db, "emergency_in_norm", f"""
        SELECT source, body, category, territory, received_on AS day, CAST(on_scene_at <= due_at AS BIGINT) AS up, 1 AS down
        FROM {first_on_scene()} WHERE due_at IS NOT NULL AND on_scene_at >= received_at""")


def cells(db, name, rows):
    for *cell, up, down, n in db.execute(
        f"SELECT source, body, category, territory, day, sum(up), sum(down), count(*) FROM ({rows}) GROUP BY ALL"
    ).fetchall():
        say(cell=[name, *cell], totals=[int(up), int(down), n])


def lives(db, now):
    """(metric, frame of source, body, category, territory, day, us, ended)."""
    columns = "source, body, category, territory"
    for name, (relation, day, duration, ended) in TIMES.items():
        yield name, f"SELECT * FROM (SELECT {columns}, {day} AS day, {duration} AS us, {ended} AS ended FROM {relation}) WHERE us >= 0".format(now=now)
    # Paused time comes off, for all but formal appeals.
    yield "net_time_to_resolve", f"""
        SELECT {columns}, received_on AS day, gross - if(regime IS NOT DISTINCT FROM 'formal_appeal', 0, paused_us
            + if(state = 'open' AND paused_since_at <= {now}, {now} - paused_since_at, 0)) AS us, state = 'closed' AS ended
        FROM (SELECT *, if(state = 'closed', closed_at, {now}) - received_at AS gross FROM counted
              WHERE state IN ('open', 'closed')) WHERE gross >= 0"""
    # Who held it how long; what nobody held is the centre's and has no body.
    yield "custody", f"""
        SELECT c.source, s.body, c.category, c.territory, c.received_on AS day,
               sum(ifnull(s.to_at, {now}) - s.from_at) AS us, bool_and(c.state <> 'open') AS ended
        FROM segments s JOIN problems c USING (case_id)
        WHERE c.received_at IS NOT NULL AND NOT c.no_case AND (s.to_at IS NOT NULL OR s.from_at <= {now})
        GROUP BY c.case_id, c.source, s.body, c.category, c.territory, c.received_on"""
    yield "queue_wait", f"""
        SELECT {columns}, received_on AS day,
               greatest(coalesce(called_at, ended_at, if(state = 'open', {now}, NULL)) - greatest(received_at, ifnull(slot_at, received_at)), 0) AS us,
               called_at IS NOT NULL AS ended
        FROM tickets WHERE coalesce(called_at, ended_at, if(state = 'open', {now}, NULL)) >= received_at"""


def nearest_rank(values, q):
    values = sorted(values)
    return values[max(math.ceil(q * len(values) - 1e-9), 1) - 1] if values else None


def quantiles(db, now):
    for name, rows in lives(db, now):
        every = "emergency" in name or name == "queue_service"
        for *cell, up, n in db.execute(
            f"SELECT source, body, category, territory, day, sum(CAST(ended AS BIGINT)), count(*) FROM ({rows}) GROUP BY ALL"
        ).fetchall():
            say(cell=[name, *cell], totals=[n if every else int(up), n, n])
        frame = db.execute(rows).df()
        for source, part in frame.groupby("source"):
            ended = part[part["ended"].astype(bool)]["us"].astype("int64").tolist()
            fitter = KaplanMeierFitter().fit(part["us"].astype("int64"), event_observed=part["ended"].astype(bool))
            falls = fitter.survival_function_["KM_estimate"]
            times = sorted(set(ended))
            for q in (0.5, 0.9, 0.95):
                say(quantile=[name, source, q], of="closed", us=nearest_rank(ended, q), near=[None, None])
                reached = falls.index[1 - falls.values >= q - 1e-12]
                us = int(reached[0]) if len(reached) else None
                say(quantile=[name, source, q], of="all", us=us, near=neighbours(times, us))


def neighbours(times, us):
    if us is None:
        return [times[-1] if times else None, None]
    at = times.index(us)
    return [times[at - 1] if at else None, times[at + 1] if at + 1 < len(times) else None]


def incidence(db, now):
    frame = db.execute(f"""
        SELECT source, category, ifnull(ended_at, {now}) - received_at AS us,
               CASE state WHEN 'closed' THEN 1 WHEN 'withdrawn' THEN 2 WHEN 'merged' THEN 3 ELSE 0 END AS cause
        FROM counted WHERE received_at IS NOT NULL AND state <> 'split' AND us >= 0""").df()
    for (source, category), part in frame.groupby(["source", "category"], dropna=False):
        if len(part) < 20:
            continue
        found, (ordered, places) = {}, untied(part)
        for cause, word in ((1, "closed"), (2, "withdrawn"), (3, "merged")):
            # Without any such ending the estimate is zero and there is nothing to fit.
            if not (part["cause"] == cause).any():
                found[word] = {days: 0.0 for days in (1, 3, 7, 15, 30, 90)}
                continue
            fitter = AalenJohansenFitter(calculate_variance=False).fit(places, ordered["cause"], event_of_interest=cause)
            curve = fitter.cumulative_density_.iloc[:, 0]
            by_then = {days: int((ordered["us"] <= days * DAY).sum()) for days in (1, 3, 7, 15, 30, 90)}
            found[word] = {days: float(curve[curve.index <= place].iloc[-1]) for days, place in by_then.items()}
        for days in (1, 3, 7, 15, 30, 90):
            category_or_none = None if pandas.isna(category) else category
            say(incidence=[source, category_or_none, days], **{word: shares[days] for word, shares in found.items()})


def untied(part):
    """In order of time, and the place of each: lifelines moves tied times apart at random, and of ties
    those that end come before those only seen until then, who are still at risk. One after the other
    is the same estimate: only the order of durations enters it."""
    ordered = part.assign(seen=part["cause"] == 0).sort_values(["us", "seen", "cause"])
    return ordered, range(1, len(ordered) + 1)


def boards(db, now):
    def board(name, sql):
        result = db.execute(sql)
        names = [column[0] for column in result.description]
        for row in result.fetchall():
            say(board=name, row=dict(zip(names, row)))

    board("call_board", """
        SELECT source, body AS line, category AS hour, received_on AS day, count(*) AS offered,
               count(*) FILTER (queued_at IS NOT NULL) AS queued, count(*) FILTER (answered_at IS NOT NULL) AS answered,
               count(*) FILTER (answered_at <= due_at) AS in_time, count(*) FILTER (outcome = 'abandoned') AS abandoned,
               count(*) FILTER (outcome = 'called_back') AS called_back, count(*) FILTER (outcome = 'transferred') AS transferred
        FROM calls WHERE received_at IS NOT NULL GROUP BY ALL""")
    board("queue_board", """
        SELECT source, body AS hall, category AS class, received_on AS day, count(*) AS tickets,
               count(called_at) AS called, count(*) FILTER (outcome = 'served') AS served,
               count(*) FILTER (outcome = 'no_show') AS no_show, count(*) FILTER (outcome = 'abandoned') AS abandoned,
               count(*) FILTER (called_at IS NULL AND ended_at IS NULL AND state = 'open') AS waiting,
               count(*) FILTER (called_at <= due_at) AS in_time, count(due_at) AS with_norm
        FROM tickets GROUP BY ALL""")
    board("overdue_ageing", f"""
        WITH late AS (SELECT source, body, category, territory, ({now} - due_at) // {DAY} AS days FROM problems
                      WHERE state = 'open' AND due_at < {now} AND received_at <= {now} AND ifnull(regime, '') NOT IN ('call', 'post'))
        SELECT source, body, category, territory, CASE WHEN days <= 3 THEN '0–3' WHEN days <= 10 THEN '4–10'
               WHEN days <= 30 THEN '11–30' WHEN days <= 90 THEN '31–90' ELSE '>90' END AS band, count(*) AS numerator
        FROM late GROUP BY ALL""")
    board("deadline_margin_days", f"""
        SELECT source, body, category,
               if(due_compare = 'date', due_on - closed_on, CAST(floor((due_at - closed_at) / {DAY}) AS BIGINT)) AS margin_days,
               count(*) AS numerator
        FROM cases WHERE state = 'closed' AND due_at IS NOT NULL AND NOT ifnull(due_at < received_at, false) GROUP BY ALL""")
    board("outcome_classes", f"""
        SELECT source, CASE WHEN state = 'closed' THEN ifnull(outcome, 'unstated')
               WHEN state = 'open' AND regime = 'formal_appeal' AND due_at < {now} THEN 'deemed_refusal' ELSE state END AS outcome_class,
               count(*) AS cases FROM cases GROUP BY ALL""")
    board("repeat_complaints", f"""
        WITH told AS (SELECT case_id, source, category, received_at, if(category IS NULL, NULL, attributes::JSON ->> 'applicant') AS who FROM cases
                      WHERE regime IN ('request_109', 'formal_appeal', 'social_appeal') AND received_at IS NOT NULL)
        SELECT a.source, count(*) FILTER (a.who IS NOT NULL AND EXISTS (
                 FROM told b WHERE b.who = a.who AND b.category = a.category AND b.case_id <> a.case_id
                   AND (b.received_at, b.case_id) < (a.received_at, a.case_id) AND a.received_at - b.received_at <= {MONTH})) AS numerator,
               count(a.who) AS denominator, count(*) AS n
        FROM told a GROUP BY a.source""")
    board("flaws", """
        SELECT source, flaw, count(*) AS numerator FROM (SELECT source, unnest(string_split(flaws, ',')) AS flaw FROM cases WHERE flaws IS NOT NULL)
        GROUP BY ALL""")


def main():
    warnings.simplefilter("ignore")
    folder, now = Path(sys.argv[1]), int(sys.argv[2])
    db = load(folder)
    count(db, now)
    quantiles(db, now)
    incidence(db, now)
    boards(db, now)
    sys.stdout.flush()
    # Native threads may abort while the interpreter is torn down, after the answer.
    os._exit(0)


if __name__ == "__main__":
    main()
