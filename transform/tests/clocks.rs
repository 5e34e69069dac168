//! Working time against a table checked by hand, and against every minute of nine years.
//!
//! `clocks/working_time.csv` is the table: times are local to Karaganda unless they say
//! their offset; a due date without a time is the end of that day.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "clocks/minutes.rs"]
mod minutes;

use std::path::Path;
use std::sync::Arc;

use ahual_schemas::sealing::Sealer;
use ahual_transform::functions;
use ahual_transform::mapping::{ColumnsConfig, DueCompare, Mapping, MappingConfig, Opened, TerritoryCode};
use ahual_transform::reference::{Reference, ReferenceConfig, ReferenceError};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use chrono::NaiveDate;
use datafusion::prelude::SessionContext;

const ZONE: chrono_tz::Tz = chrono_tz::Asia::Almaty;

/// What ships, under the calendars and rules of these tests.
fn reference() -> Arc<Reference> {
    laid_over(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clocks/reference")).unwrap()
}

/// What ships, under a folder.
fn laid_over(folder: &Path) -> Result<Arc<Reference>, ReferenceError> {
    let config: ReferenceConfig = toml::from_str(&format!("folder = {folder:?}")).unwrap();
    Reference::load(&config, Path::new("."))
}

fn session(reference: &Arc<Reference>) -> SessionContext {
    let session = SessionContext::new();
    functions::register(&session, &Sealer::new("test", b"not a secret"), reference);
    session
}

/// One row of the table.
struct Row<'a> {
    line: usize,
    ask: &'a str,
    from: &'a str,
    to: &'a str,
    rule: &'a str,
    calendar: &'a str,
    body: &'a str,
    expected: &'a str,
    why: &'a str,
}

fn table() -> Vec<Row<'static>> {
    let text = include_str!("clocks/working_time.csv");
    let rows = text.lines().enumerate().skip(1);
    rows.map(|(number, line)| {
        let cells: Vec<&str> = line.split(';').collect();
        let [ask, from, to, rule, calendar, body, expected, why] = cells[..] else {
            panic!("line {}: {} cells", number + 1, cells.len())
        };
        Row { line: number + 1, ask, from, to, rule, calendar, body, expected, why }
    })
    .collect()
}

fn instant(text: &str) -> String {
    if text.is_empty() { "NULL".to_owned() } else { format!("parse_when('{text}', 'Asia/Almaty')") }
}

fn day(text: &str) -> String {
    if text.is_empty() { "NULL".to_owned() } else { format!("DATE '{text}'") }
}

impl Row<'_> {
    fn sql(&self) -> String {
        let Self { ask, from, to, rule, calendar, body, .. } = self;
        let body = if body.is_empty() { String::new() } else { format!(", '{body}'") };
        let call = match ask.trim_end_matches("_reason") {
            "working_minutes" => format!("{ask}({}, {}, '{calendar}'{body})", instant(from), instant(to)),
            "due_at" => format!("{ask}({}, '{rule}', '{calendar}'{body})", instant(from)),
            "is_working_day" => format!("{ask}({}, '{calendar}')", day(from)),
            "add_working_days" => format!("{ask}({}, {to}, '{calendar}')", day(from)),
            "working_days" => format!("{ask}({}, {}, '{calendar}')", day(from), day(to)),
            "calendar_known_at" => format!("{ask}('{calendar}', {})", instant(from)),
            "rule_for" => format!("{ask}('{rule}', {})", instant(from)),
            other => panic!("line {}: nothing is called {other}", self.line),
        };
        if *ask == "due_at" {
            // A term in days ends with the last microsecond of its day.
            return format!(
                "CASE WHEN local_date({call}, 'Asia/Almaty') < local_date({call} + INTERVAL '1 microsecond', 'Asia/Almaty') \
                 THEN CAST(local_date({call}, 'Asia/Almaty') AS VARCHAR) ELSE CAST(CAST({call} AS BIGINT) AS VARCHAR) END"
            );
        }
        format!("CAST({call} AS VARCHAR)")
    }

    /// What the answer must read: instants as microseconds.
    fn expected(&self) -> Option<String> {
        if self.expected.is_empty() {
            return None;
        }
        if self.ask == "due_at" && self.expected.len() > 10 {
            return functions::parse_when(self.expected, ZONE, None).map(|at| at.to_string());
        }
        Some(self.expected.to_owned())
    }
}

#[tokio::test]
async fn every_case_of_the_table_holds() {
    let session = session(&reference());
    let table = table();
    assert!(table.len() >= 100, "{} cases", table.len());
    let columns: Vec<String> = table.iter().map(|row| format!("{} AS r{}", row.sql(), row.line)).collect();
    let mut wrong = Vec::new();
    // Some at a time: a SELECT of hundreds of columns plans slowly.
    for (rows, columns) in table.chunks(40).zip(columns.chunks(40)) {
        let frame = session.sql(&format!("SELECT {}", columns.join(", "))).await.unwrap();
        let batch = frame.collect().await.unwrap().remove(0);
        for (row, column) in rows.iter().zip(batch.columns()) {
            let column = arrow::compute::cast(column, &DataType::Utf8).unwrap();
            let answer = column.as_string::<i32>();
            let answer = answer.is_valid(0).then(|| answer.value(0).to_owned());
            if answer != row.expected() {
                wrong.push(format!(
                    "line {}: {} gives {answer:?}, not {:?}: {}",
                    row.line,
                    row.ask,
                    row.expected(),
                    row.why
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), table.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_name_that_is_not_there_is_an_error_that_names_what_is() {
    let session = session(&reference());
    let at = "parse_when('2026-02-02 10:00', 'Asia/Almaty')";
    for (sql, said) in [
        (format!("SELECT working_minutes({at}, {at}, 'kz')"), "there is no calendar version 'kz'"),
        (format!("SELECT working_minutes({at}, {at}, 'kz@2017')"), "kz@2026-03-18"),
        (format!("SELECT due_at({at}, 'appeal', 'kz@2026-01')"), "there is no rule 'appeal'; there are 109-emergency"),
        (format!("SELECT due_at({at}, 'kz-appeal@1', 'kz@2026-01')"), "there is no rule 'kz-appeal@1'"),
        (format!("SELECT rule_for('appeal', {at})"), "there is no rule 'appeal'"),
        (format!("SELECT calendar_known_at('ru', {at})"), "there is no calendar 'ru'; there are dst, evenings, kz"),
    ] {
        let answered = match session.sql(&sql).await {
            Ok(frame) => frame.collect().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let error = answered.unwrap_err().to_string();
        assert!(error.contains(said), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_time_that_nobody_can_read_is_passed_on_as_such() {
    let session = session(&reference());
    let sql = "SELECT CAST(due_at(parse_when('soon', 'Asia/Almaty'), 'kz-appeal', 'kz@2026-01') AS BIGINT) AS due, \
               working_minutes(parse_when('soon', 'Asia/Almaty'), now(), 'kz@2026-01') AS minutes";
    let batch = session.sql(sql).await.unwrap().collect().await.unwrap().remove(0);
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), functions::UNREADABLE);
    assert!(batch.column(1).is_null(0));
}

/// SplitMix64: the same cases every time.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

const CASES: usize = 100_000;
const CALENDARS: [&str; 4] = ["kz@2022", "kz@2022-10-08", "kz@2026-01", "kz@2026-03-18"];
const BODIES: [&str; 2] = ["", "112"];
const RULES: [&str; 8] = [
    "kz-appeal@2021-07-01",
    "kz-appeal@2007",
    "kz-complaint@2021-07-01",
    "appeal-from-receipt@1",
    "109-emergency",
    "109-urgent",
    "109-ordinary",
    "109-planned",
];

fn texts(values: impl Iterator<Item = &'static str>) -> ArrayRef {
    Arc::new(values.map(|v| (!v.is_empty()).then_some(v)).collect::<StringArray>())
}

/// `working_minutes` and `due_at` against a table of every minute of 2018 to 2026 that
/// `minutes` builds from the same files by other code.
#[tokio::test]
async fn working_time_agrees_with_every_minute_of_nine_years() {
    let seed = std::env::var("AHUAL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026);
    let mut dice = Dice(seed);
    let (first, end) = (minutes::first_minute(), minutes::first_minute() + minutes::MINUTES as i64);
    let mut cases = Vec::with_capacity(CASES);
    for _ in 0..CASES {
        let calendar = dice.one(&CALENDARS);
        let last = if calendar.starts_with("kz@2022") { minutes::minute_of(2023) } else { end };
        let span = u64::try_from(last - first).unwrap();
        let from = first + i64::try_from(dice.below(span)).unwrap();
        // Most questions are about weeks, some about years.
        let reach = if dice.below(10) == 0 { span } else { 60 * 24 * 60 };
        let to = (from - 1000 + i64::try_from(dice.below(reach)).unwrap()).clamp(first, last);
        cases.push((from, to, dice.one(&RULES), calendar, dice.one(&BODIES)));
    }
    let at = |minute: i64| minute * 60_000_000;
    let column =
        |values: Vec<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")) };
    let batch = RecordBatch::try_from_iter([
        ("start", column(cases.iter().map(|c| at(c.0)).collect())),
        ("finish", column(cases.iter().map(|c| at(c.1)).collect())),
        ("rule", texts(cases.iter().map(|c| c.2))),
        ("calendar", texts(cases.iter().map(|c| c.3))),
        ("body", texts(cases.iter().map(|c| c.4))),
        ("nr", Arc::new(Int64Array::from_iter_values(0..CASES as i64)) as ArrayRef),
    ])
    .unwrap();
    let session = session(&reference());
    session.register_batch("cases", batch).unwrap();
    let sql = "SELECT nr, working_minutes(start, finish, calendar, body) AS minutes, \
               due_at(start, rule, calendar, body) AS due FROM cases";
    let tables = minutes::Tables::build(&CALENDARS, &BODIES);
    let mut answered = 0;
    for batch in session.sql(sql).await.unwrap().collect().await.unwrap() {
        let numbers = batch.column(0).as_primitive::<Int64Type>();
        let worked = batch.column(1).as_primitive::<Int64Type>();
        let due = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let (from, to, rule, calendar, body) = cases[usize::try_from(numbers.value(row)).unwrap()];
            let table = tables.of(calendar, body);
            let asked = format!("{from}..{to} {rule} {calendar} '{body}' (seed {seed})");
            assert!(worked.is_valid(row), "no minutes for {asked}");
            assert_eq!(worked.value(row), table.worked(from, to), "{asked}");
            let due = due.is_valid(row).then(|| due.value(row));
            assert_eq!(due, table.due(from, rule), "{asked}");
            answered += usize::from(due.is_some());
        }
    }
    assert!(answered > CASES / 2, "only {answered} had a due date: the cases are too far out");
}

#[test]
fn the_table_of_minutes_is_right_about_days_anyone_can_look_up() {
    let tables = minutes::Tables::build(&["kz@2026-03-18"], &[""]);
    let table = tables.of("kz@2026-03-18", "");
    let of = |y, m, d| table.worked_on(NaiveDate::from_ymd_opt(y, m, d).unwrap());
    assert_eq!([of(2018, 8, 24), of(2018, 8, 25), of(2018, 8, 26)], [480, 480, 0]);
    assert_eq!([of(2018, 8, 30), of(2018, 8, 31), of(2026, 8, 31)], [0, 0, 480]);
}

/// What is said of a calendar and a rule laid over what ships.
fn refused(calendar: &str, rules: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [("calendars/ours.toml", calendar), ("rules/ours.toml", rules)] {
        if !text.is_empty() {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    laid_over(folder.path()).unwrap_err().to_string()
}

#[test]
fn a_wrong_calendar_is_refused_with_line_and_way_out() {
    let head =
        "name = \"kz\"\nversion = \"2027\"\nknown_from = 2026-12-01\nextends = \"kz@2026-03-18\"\nyears = [2027]\n";
    let with = |rest: &str| refused(&format!("{head}{rest}\n"), "");
    for (rest, said) in [
        (
            "off = [{ date = 2028-01-01, name = \"x\", act = \"not found\" }]",
            "line 6: 2028-01-01 is in no year this calendar covers; add 2028 to years",
        ),
        (
            "off = [{ date = 2027-01-01, name = \"x\", act = \"law\" }]",
            "line 6: act 'law' is not among [acts]; add it there, or write \"not found\"",
        ),
        (
            "off = [\n{ date = 2027-01-01, name = \"x\", act = \"not found\" },\n{ date = 2027-01-01, name = \"x\", act = \"not found\" }]",
            "line 8: 2027-01-01 is said twice",
        ),
        (
            "worked = [{ date = 2027-01-04, name = \"x\", act = \"not found\" }]",
            "line 6: 2027-01-04 is a Mon and worked anyway; remove it",
        ),
        (
            "ordinary = [{ date = 2027-01-04, name = \"x\", act = \"not found\" }]",
            "line 6: 2027-01-04 is ordinary anyway",
        ),
        ("off = [{ date = 2027-01-01 }]", "line 6: missing field `name`"),
        ("of = []", "line 6: unknown field `of`, expected one of"),
        (
            "[[hours]]\ndays = [\"monday\"]\nopen = [\"9-18\"]",
            "open '9-18' must be like \"09:00-13:00\"; a day ends at 24:00",
        ),
        ("[[hours]]\ndays = [\"monday\"]\nopen = [\"09:00-13:00\", \"12:00-18:00\"]", "hours of monday overlap"),
        ("[[hours]]\ndays = [\"mon\"]\nopen = [\"09:00-13:00\"]", "'mon' is no weekday; write one like \"monday\""),
    ] {
        let told = with(rest);
        assert!(told.contains(said) && told.contains("ours.toml"), "{rest}: {told}");
    }
    for (text, said) in [
        (
            head.replace("kz@2026-03-18", "kz@2026"),
            "line 4: extends kz@2026, which is no usable calendar version; there are kz@2018",
        ),
        (head.replace("2027]", "2028]"), "line 5: covers"),
        (
            head.replace("2026-12-01", "2026-03-18"),
            "line 3: kz@2026-03-18 was known from 2026-03-18; what extends it must be known later",
        ),
        (head.replace("2027\"", "2025\""), "line 2: there is another kz@2025"),
        (head.replace("2027\"", "2027 new\""), "line 2: version '2027 new' must be of lower case letters"),
        (
            head.replace("extends = \"kz@2026-03-18\"\n", ""),
            "line 1: there is no time_zone; write one like \"Asia/Almaty\"",
        ),
        (
            head.replace("extends = \"kz@2026-03-18\"\n", "time_zone = \"Karaganda\"\n"),
            "line 4: 'Karaganda' is no time zone",
        ),
    ] {
        let told = refused(&text, "");
        assert!(told.contains(said), "{text}: {told}");
    }
}

#[test]
fn a_wrong_rule_is_refused_with_line_and_way_out() {
    let rule = |rest: &str| {
        format!(
            "[[rule]]\nname = \"r\"\nversion = \"1\"\ntitle = \"t\"\nact = \"a\"\napplies_from = 2020-01-01\ncalendar = \"kz\"\n{rest}\n"
        )
    };
    for (text, said) in [
        (rule(""), "line 1: rule r: needs exactly one term"),
        (rule("working_days = 3\nhours = 2"), "rule r: needs exactly one term"),
        (rule("working_days = 0"), "rule r: a term has at least one day"),
        (rule("hours = 0.001"), "rule r: needs exactly one term"),
        (rule("working_days = 3\nlast_day = \"next_working_day\""), "rule r: last_day is for calendar_days"),
        (
            rule("working_days = 3\ncounting = \"next\""),
            "line 9: unknown variant `next`, expected `next_day` or `day_of_receipt`",
        ),
        (rule("working_days = 3").replace("\"kz\"", "\"ru\""), "rule r: calendar 'ru' is none; there are kz@2018"),
        (
            rule("working_days = 3") + &rule("working_days = 4").replace("\"1\"", "\"2\""),
            "line 9: rule r: r@1 and r@2 apply to the same days; end one with applies_to",
        ),
    ] {
        let told = refused("", &text);
        assert!(told.contains(said), "{text}: {told}");
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    let told = refused("name = 1", "[[rule]]");
    assert!(told.contains("calendars/ours.toml, line 1") && told.contains("rules/ours.toml, line 1"), "{told}");
}

/// A mapping that names the rule its records name.
async fn mapping() -> Mapping {
    let config = MappingConfig {
        sql: "door.sql".into(),
        regime: ahual_schemas::Regime::FormalAppeal,
        time_zone: ZONE,
        due_compare: DueCompare::Date,
        territory: TerritoryCode::Own,
        columns: ColumnsConfig::Names(["at", "kind", "rule", "calendar", "due"].map(str::to_owned).to_vec()),
        rename: std::collections::BTreeMap::new(),
    };
    let sql = "SELECT _record, kind, parse_when(at, 'Asia/Almaty') AS occurred_at, rule, calendar, \
               due_at(parse_when(due, 'Asia/Almaty'), 'kz-appeal', 'kz@2026-03-18') AS due_at FROM raw";
    let sealer = Sealer::new("test", b"not a secret");
    Mapping::new("door", &config, "door.sql".into(), sql.to_owned(), &sealer, &reference()).await.unwrap()
}

#[tokio::test]
async fn a_mapping_names_a_rule_or_computes_by_one_itself() {
    let said = |text: &str| Opened {
        record_id: text.to_owned(),
        case_key: "1".to_owned(),
        appended_at: ahual_schemas::At(0),
        payload: text.to_owned().into(),
    };
    let records = [
        r#"{"at": "2026-08-17 10:00", "kind": "deadline_set", "rule": "kz-appeal"}"#,
        r#"{"at": "2026-08-17 10:00", "kind": "deadline_set", "rule": "kz-appeal@2021-07-01", "calendar": "kz@2026-01"}"#,
        r#"{"at": "2026-08-17 10:00", "kind": "deadline_set", "due": "2026-08-17 10:00"}"#,
        r#"{"at": "2026-08-17 10:00", "kind": "deadline_set", "rule": "kz-apeal"}"#, // spelled wrong on purpose
        r#"{"at": "2026-08-17 10:00", "kind": "deadline_set", "rule": "kz-appeal", "calendar": "ru"}"#,
        r#"{"at": "2026-08-17 10:00", "kind": "received", "rule": "kz-appeal"}"#,
        r#"{"at": "2026-08-17 10:00", "kind": "deadline_set", "calendar": "kz"}"#,
        r#"{"at": "2026-08-17 10:00", "kind": "deadline_set", "due": "soon"}"#,
    ];
    let outcomes = mapping().await.map(&records.map(said)).await.unwrap();
    let event = |nth: usize| outcomes[nth].as_ref().unwrap().first().unwrap();
    assert_eq!((event(0).text["rule"].as_str(), event(0).due_at), ("kz-appeal", None));
    assert_eq!(event(1).text["calendar"], "kz@2026-01");
    let due = functions::parse_when("2026-09-08", ZONE, None).map(|at| at - 1);
    assert_eq!(event(2).due_at, due);
    for (nth, said) in [
        (3, "unknown rule: kz-apeal is none of 109-emergency"), // spelled wrong on purpose
        (4, "unknown calendar: ru is none of dst, evenings, kz"),
        (5, "rule kz-appeal in received: only a deadline has a rule"),
        (6, "calendar kz without a rule"),
        (7, "unreadable time: due_at of deadline_set"),
    ] {
        let reason = outcomes[nth].as_ref().unwrap_err();
        assert!(reason.contains(said), "{reason}");
    }
}
