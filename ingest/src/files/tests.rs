#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;

use proptest::prelude::*;

use super::csv::Cutter;
use super::*;
use crate::config::{Door, IntakeConfig, build};

fn door(dir: &Path, toml: &str) -> Door {
    let intake: IntakeConfig = toml::from_str(toml).unwrap();
    build("calls", intake, dir).unwrap()
}

/// Everything a folder gives: payloads, and reasons with bytes.
async fn drain(dir: &Path, toml: &str) -> Result<(Vec<Found>, Vec<Refused>), ConnectorError> {
    let mut connector = door(dir, toml).connector;
    let (mut records, mut refused, mut cursor) = (Vec::new(), Vec::new(), None);
    loop {
        let page = connector.next_page(cursor.as_ref(), Utc::now()).await?;
        for item in page.items {
            match item {
                Item::Record(found) => records.push(found),
                Item::SetAside(what) => refused.push(what),
            }
        }
        if !page.more {
            return Ok((records, refused));
        }
        cursor = Some(page.cursor);
    }
}

fn text(found: &Found) -> &str {
    std::str::from_utf8(&found.payload).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

const BY_ID: &str = "identity = { columns = [\"id\"] }\nfiles = { path = \"*\" }";

#[tokio::test]
async fn cells_stay_untouched_and_say_where_they_were_found() {
    let dir = tempfile::tempdir().unwrap();
    let csv = "\u{feff}id,name,note\r\n007,\"Nobody, N.\",\"says \"\"no\"\"\"\r\n\r\n008,  spaced  ,\r\n";
    std::fs::write(dir.path().join("calls.csv"), csv).unwrap();
    let (records, refused) = drain(dir.path(), BY_ID).await.unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(text(&records[0]), r#"{"id":"007","name":"Nobody, N.","note":"says \"no\""}"#);
    assert_eq!(text(&records[1]), r#"{"id":"008","name":"  spaced  ","note":""}"#);
    let hash = blake3::hash(csv.as_bytes()).to_hex();
    assert_eq!(records[1].delivery, format!("calls.csv@{}:2", &hash.as_str()[..8]));
    assert_eq!(records[1].place.as_deref(), Some("calls.csv:2"));
}

#[tokio::test]
async fn a_shifted_row_is_set_aside_with_its_text_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("calls.csv"), "id,a,b\n1,x,y\n2,x\n3,x,y,z\n4,x,y\n").unwrap();
    let (records, refused) = drain(dir.path(), BY_ID).await.unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(&refused[0].bytes[..], b"2,x");
    assert!(refused[0].reason.contains("line 3: 2 cells where the header has 3"), "{}", refused[0].reason);
    assert!(refused[1].reason.contains("line 4: 4 cells where the header has 3"), "{}", refused[1].reason);
    assert!(refused[1].delivery.ends_with(":3"), "{}", refused[1].delivery);
}

#[tokio::test]
async fn a_quote_never_closed_costs_one_row_not_the_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("calls.csv"), "id,a\n1,x\n2,\"open\n3,y\n4,z\n").unwrap();
    let (records, refused) = drain(dir.path(), BY_ID).await.unwrap();
    assert_eq!(records.len(), 3);
    assert_eq!(&refused[0].bytes[..], b"2,\"open");
}

#[tokio::test]
async fn a_row_that_is_not_utf8_is_set_aside_with_its_bytes_and_place() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("calls.csv"), b"id,a\n1,x\n2,\xff\xfe\n3,y\n").unwrap();
    let (records, refused) = drain(dir.path(), BY_ID).await.unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(&refused[0].bytes[..], b"2,\xff\xfe");
    assert!(refused[0].reason.contains("line 3: byte 11"), "{}", refused[0].reason);
}

#[tokio::test]
async fn windows_1251_utf_16_and_detection_give_the_same_cells() {
    let csv = "id;улица\n1;Бухар-жырау, дом пять, рядом с аптекой\n2;проспект Нуркена\n";
    let expected = r#"{"id":"2","улица":"проспект Нуркена"}"#;
    let (cyrillic, _, _) = encoding_rs::WINDOWS_1251.encode(csv);
    let mut wide = vec![0xff, 0xfe];
    wide.extend(csv.encode_utf16().flat_map(u16::to_le_bytes));
    for (bytes, encoding) in [
        (cyrillic.to_vec(), "encoding = \"windows-1251\","),
        (cyrillic.to_vec(), "encoding = \"detect\","),
        (wide, ""),
        (csv.as_bytes().to_vec(), ""),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("calls.csv"), bytes).unwrap();
        let toml = format!(
            "identity = {{ columns = [\"id\"] }}\nfiles = {{ path = \"calls.csv\", {encoding} delimiter = \";\" }}"
        );
        let (records, refused) = drain(dir.path(), &toml).await.unwrap();
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(text(&records[1]), expected);
    }
}

#[tokio::test]
async fn a_truncated_gzip_is_set_aside_whole_and_the_other_files_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = (0..5_000).map(|row| format!("{row},x{}\n", row * 7919 % 1000)).collect();
    let packed = gzip(format!("id,a\n{rows}").as_bytes());
    std::fs::write(dir.path().join("a.csv.gz"), &packed[..packed.len() / 2]).unwrap();
    std::fs::write(dir.path().join("b.csv.gz"), gzip(b"id,a\n1,x\n")).unwrap();
    let (records, refused) = drain(dir.path(), BY_ID).await.unwrap();
    assert_eq!(records.len(), 1, "nothing of the broken file is half-taken");
    assert_eq!(refused.len(), 1);
    assert!(refused[0].reason.contains("a.csv.gz") && refused[0].reason.contains("truncated"), "{}", refused[0].reason);
    assert!(refused[0].reason.contains("send it again"));
    assert_eq!(refused[0].bytes, packed[..packed.len() / 2]);
}

#[tokio::test]
async fn a_file_that_unpacks_beyond_the_limit_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv.gz"), gzip(&vec![b'x'; 1 << 20])).unwrap();
    let toml = "identity = { columns = [\"id\"] }\nfiles = { path = \"*\", max_unpacked_bytes = 65536 }";
    let (records, refused) = drain(dir.path(), toml).await.unwrap();
    assert!(records.is_empty());
    assert!(refused[0].reason.contains("max_unpacked_bytes"), "{}", refused[0].reason);
}

#[tokio::test]
async fn a_missing_column_stops_and_names_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("calls.csv"), "id,open_date\n1,x\n").unwrap();
    let toml = "identity = { columns = [\"id\"] }\nfiles = { path = \"*\", columns = [\"open_dt\"] }";
    let error = drain(dir.path(), toml).await.unwrap_err();
    assert_eq!(error.advice(), ahual_schemas::Advice::Stop);
    assert!(error.to_string().contains("no column 'open_dt'; the nearest is 'open_date'"), "{error}");
}

#[tokio::test]
async fn totals_and_lines_before_the_header_are_told_apart_from_records() {
    let dir = tempfile::tempdir().unwrap();
    let csv = "Отчёт за март\n\nid,a\n1,x\nИтого,1\n,2\n";
    std::fs::write(dir.path().join("calls.csv"), csv).unwrap();
    let toml = "identity = { columns = [\"id\"] }\nfiles = { path = \"*\", skip_rows = 2, total_rows = { where_blank = \"id\", starts_with = [\"итого\"] } }";
    let (records, refused) = drain(dir.path(), toml).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|what| what.reason.contains("a total")));
}

#[tokio::test]
async fn json_lines_and_documents_keep_the_bytes_of_their_objects() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.jsonl"), "{\"id\": 1.50}\n\n{broken\n[1]\n{\"id\":2}").unwrap();
    std::fs::write(dir.path().join("b.json"), "[{\"id\":3 , \"n\":10000000000000000000000}]").unwrap();
    std::fs::write(dir.path().join("c.json"), "[{\"id\":4},").unwrap();
    let (records, refused) = drain(dir.path(), BY_ID).await.unwrap();
    let texts: Vec<&str> = records.iter().map(text).collect();
    assert_eq!(texts, ["{\"id\": 1.50}", "{\"id\":2}", "{\"id\":3 , \"n\":10000000000000000000000}"]);
    assert!(refused[0].reason.contains("line 3 (byte 14)"), "{}", refused[0].reason);
    assert!(refused[1].reason.contains("not an object"), "{}", refused[1].reason);
    assert!(refused[2].reason.contains("c.json") && refused[2].reason.contains("byte 9"), "{}", refused[2].reason);
}

#[tokio::test]
async fn exact_repeats_are_counted_within_a_file_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("calls.csv"), "a\nx\ny\nx\nx\n").unwrap();
    let toml = "identity = { content = true }\nfiles = { path = \"*\", page_rows = 2 }";
    let mut cursor = None;
    let mut occurrences = Vec::new();
    loop {
        let mut connector = door(dir.path(), toml).connector;
        let page = connector.next_page(cursor.as_ref(), Utc::now()).await.unwrap();
        for item in page.items {
            let Item::Record(found) = item else { panic!("nothing is to be set aside") };
            occurrences.push(found.occurrence);
        }
        if !page.more {
            break;
        }
        cursor = Some(page.cursor);
    }
    assert_eq!(occurrences, [1, 1, 2, 3]);
}

#[tokio::test]
async fn a_watched_folder_gives_what_is_new_and_what_has_grown() {
    let dir = tempfile::tempdir().unwrap();
    let toml = "identity = { columns = [\"id\"] }\nfiles = { path = \"in/*.csv\", watch = true }";
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let mut connector = door(dir.path(), toml).connector;
    let mut cursor = None;
    let mut look = async |connector: &mut Box<dyn Connector>| {
        let mut places = Vec::new();
        loop {
            let page = connector.next_page(cursor.as_ref(), Utc::now()).await.unwrap();
            places.extend(page.items.into_iter().map(|item| match item {
                Item::Record(found) => found.place.unwrap(),
                Item::SetAside(refused) => refused.reason,
            }));
            cursor = Some(page.cursor);
            if !page.more {
                return places;
            }
        }
    };
    assert!(look(&mut connector).await.is_empty());
    std::fs::write(dir.path().join("in/a.csv"), "id\n1\n").unwrap();
    std::fs::write(dir.path().join("in/.b.csv.tmp"), "id\n1\n").unwrap();
    assert_eq!(look(&mut connector).await, ["a.csv:1"]);
    assert!(look(&mut connector).await.is_empty());
    std::fs::write(dir.path().join("in/a.csv"), "id\n1\n2\n").unwrap();
    assert_eq!(look(&mut connector).await, ["a.csv:1", "a.csv:2"], "the whole file again, under the same identities");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = drain(dir.path(), "identity = { row = true }\nfiles = { path = \"gone.csv\" }").await.unwrap_err();
    assert!(error.to_string().contains("gone.csv: there is no such file"), "{error}");
}

#[test]
fn a_wrong_setting_is_refused_with_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |toml: &str| {
        let intake: IntakeConfig = toml::from_str(toml).unwrap();
        build("calls", intake, dir.path()).unwrap_err().to_string()
    };
    let text = refused("identity = { row = true }\nfiles = { path = \"a.csv\", encoding = \"klingon\" }");
    assert!(text.contains("files.encoding is no encoding label"), "{text}");
    let text = refused("identity = { row = true }\nfiles = { path = \"*/a.csv\" }");
    assert!(text.contains("last component"), "{text}");
    assert!(toml::from_str::<IntakeConfig>("files = { path = \"a\", delimitre = \";\" }").is_err());
    assert!(refused("files = { path = \"a.csv\" }").contains("source calls"));
    let intake: IntakeConfig = toml::from_str("identity = { row = true }\nfiles = { path = \"a.csv\" }").unwrap();
    assert!(build("Calls of 109", intake, dir.path()).unwrap_err().to_string().contains("lowercase"));
}

#[test]
fn patterns_match_as_in_a_shell() {
    for (pattern, name, fits) in [
        ("*", "a", true),
        ("*.csv", "a.csv", true),
        ("*.csv", "a.csv.gz", false),
        ("a?c*", "abcd", true),
        ("*b*d", "abcd", true),
        ("a", "b", false),
    ] {
        assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
    }
}

fn cut(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut cutter = Cutter::new(Box::new(std::io::Cursor::new(text.to_vec())), b',', 0);
    let mut rows = Vec::new();
    while let Some(row) = cutter.row().unwrap() {
        rows.push(row.cells().map(<[u8]>::to_vec).collect());
    }
    rows
}

proptest! {
    /// What the `csv` crate writes, we cut into the same cells as it does.
    #[test]
    fn rows_are_cut_as_the_csv_crate_cuts_them(rows in proptest::collection::vec(proptest::collection::vec("[a-c,\"\n; é]{0,6}", 2..4), 1..8)) {
        let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let text = writer.into_inner().unwrap();
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&text[..]);
        let theirs: Vec<Vec<Vec<u8>>> =
            reader.byte_records().map(|row| row.unwrap().iter().map(<[u8]>::to_vec).collect()).collect();
        prop_assert_eq!(cut(&text), theirs);
    }
}

/// A ZIP archive of stored entries, enough for a workbook.
fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = Vec::new();
    let mut directory = Vec::new();
    for (name, text) in entries {
        let mut crc = flate2::Crc::new();
        crc.update(text.as_bytes());
        let (length, name_length) = (text.len() as u32, name.len() as u16);
        let mut about = Vec::new();
        about.extend([20_u16, 0, 0, 0, 33].iter().flat_map(|field| field.to_le_bytes()));
        about.extend([crc.sum(), length, length].iter().flat_map(|field| field.to_le_bytes()));
        about.extend(name_length.to_le_bytes());
        about.extend(0_u16.to_le_bytes());
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&about);
        directory.extend([0_u16, 0, 0].iter().flat_map(|field| field.to_le_bytes()));
        directory.extend([0_u32, zip.len() as u32].iter().flat_map(|field| field.to_le_bytes()));
        directory.extend(name.as_bytes());
        zip.extend(b"PK\x03\x04");
        zip.extend(&about);
        zip.extend(name.as_bytes());
        zip.extend(text.as_bytes());
    }
    let (count, at, length) = (entries.len() as u16, zip.len() as u32, directory.len() as u32);
    zip.extend(&directory);
    zip.extend(b"PK\x05\x06");
    zip.extend([0_u16, 0, count, count].iter().flat_map(|field| field.to_le_bytes()));
    zip.extend([length, at].iter().flat_map(|field| field.to_le_bytes()));
    zip.extend(0_u16.to_le_bytes());
    zip
}

#[tokio::test]
async fn a_workbook_gives_iso_dates_whole_numbers_and_filled_headers() {
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let package = "http://schemas.openxmlformats.org/package/2006/relationships";
    let office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let workbook = format!(
        r#"<?xml version="1.0"?><workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="109" sheetId="1" r:id="rId1"/></sheets></workbook>"#
    );
    let links = format!(
        r#"<?xml version="1.0"?><Relationships xmlns="{package}"><Relationship Id="rId1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="{office}/styles" Target="styles.xml"/></Relationships>"#
    );
    let styles = format!(
        r#"<?xml version="1.0"?><styleSheet xmlns="{main}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs></styleSheet>"#
    );
    let text = |cell: &str, text: &str| format!(r#"<c r="{cell}" t="inlineStr"><is><t>{text}</t></is></c>"#);
    let sheet = format!(
        r#"<?xml version="1.0"?><worksheet xmlns="{main}"><dimension ref="A1:D7"/><sheetData><row r="1">{}</row><row r="2">{}{}</row><row r="3">{}{}{}{}</row><row r="4"><c r="A4"><v>351010000</v></c><c r="B4" s="1"><v>45292.520833333336</v></c><c r="C4" s="1"><v>45293</v></c><c r="D4"><v>1.5</v></c></row><row r="5"></row><row r="6">{}<c r="D6"><v>3</v></c></row></sheetData><mergeCells count="1"><mergeCell ref="B2:C2"/></mergeCells></worksheet>"#,
        text("A1", "Отчёт"),
        text("A2", "КАТО"),
        text("B2", "Время"),
        text("A3", "КАТО"),
        text("B3", "поступило"),
        text("C3", "закрыто"),
        text("D3", "n"),
        text("A6", "Итого"),
    );
    let dir = tempfile::tempdir().unwrap();
    let root = format!(
        r#"<?xml version="1.0"?><Relationships xmlns="{package}"><Relationship Id="rId1" Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>"#
    );
    let book = archive(&[
        ("_rels/.rels", &root),
        ("xl/workbook.xml", &workbook),
        ("xl/_rels/workbook.xml.rels", &links),
        ("xl/styles.xml", &styles),
        ("xl/worksheets/sheet1.xml", &sheet),
    ]);
    std::fs::write(dir.path().join("march.xlsx"), book).unwrap();
    let toml = "identity = { row = true, case_key = [\"КАТО\"] }\nfiles = { path = \"*\", sheet = \"109\", skip_rows = 1, header_rows = 2, total_rows = { starts_with = [\"итого\"] } }";
    let (records, refused) = drain(dir.path(), toml).await.unwrap();
    assert_eq!(records.len(), 1, "{refused:?}");
    assert_eq!(
        text_of(&records[0]),
        r#"{"КАТО":"351010000","Время / поступило":"2024-01-01T12:30:00","Время / закрыто":"2024-01-02T00:00:00","n":"1.5"}"#
    );
    assert!(refused[0].reason.contains("sheet row 6: it is a total"), "{}", refused[0].reason);
}

fn text_of(found: &Found) -> &str {
    text(found)
}
