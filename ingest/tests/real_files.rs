//! Real files that nobody here wrote, read to their last row.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use ahual_ingest::{Found, IntakeConfig, Item, Refused, build};
use ahual_schemas::sealing::Sealer;
use chrono::Utc;

/// The folder of shared data; a missing one is a visible skip, or a failure under CI.
fn shared() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("AHUAL_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from).join("data");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing", folder.display());
    eprintln!("SKIPPED: {} is missing; name the folder in AHUAL_SHARED", folder.display());
    None
}

struct Drained {
    records: Vec<Found>,
    refused: Vec<Refused>,
    ids: BTreeSet<String>,
    cases: BTreeSet<String>,
}

async fn drain(folder: &std::path::Path, toml: &str) -> Drained {
    let intake: IntakeConfig = toml::from_str(toml).unwrap();
    let door = build("real", intake, folder).unwrap();
    let (mut connector, identity) = (door.connector, door.identity);
    let mut all = Drained { records: Vec::new(), refused: Vec::new(), ids: BTreeSet::new(), cases: BTreeSet::new() };
    let mut cursor = None;
    loop {
        let page = connector.next_page(cursor.as_ref(), Utc::now()).await.unwrap();
        for item in page.items {
            match item {
                Item::Record(found) => {
                    let named = identity.name(&found, &Sealer::new("test", b"a secret of tests")).unwrap();
                    all.ids.insert(named.record_id);
                    all.cases.insert(named.case_key);
                    all.records.push(found);
                }
                Item::SetAside(refused) => all.refused.push(refused),
            }
        }
        if !page.more {
            return all;
        }
        cursor = Some(page.cursor);
    }
}

/// File, identity, rows, distinct records, distinct cases.
const FILES: [(&str, &str, usize, usize, usize); 10] = [
    ("311/boston311_2011H2.csv.gz", r#"columns = ["case_enquiry_id"]"#, 58_251, 58_251, 58_251),
    ("311/boston311_2019_animal_newschema.csv.gz", r#"columns = ["case_enquiry_id"]"#, 8_928, 8_928, 8_928),
    ("311/nyc311_soda_1000_2024.csv.gz", r#"columns = ["unique_key"]"#, 1_000, 1_000, 1_000),
    ("311/nyc311_soda_1000_2024.json.gz", r#"columns = ["unique_key"]"#, 1_000, 1_000, 1_000),
    ("311/nyc311_soda_fhrw_2012.json.gz", r#"columns = ["unique_key"]"#, 1_000, 1_000, 1_000),
    ("311/nyc311_export_924_2022.csv.gz", r#"columns = ["Unique Key"]"#, 924, 924, 924),
    ("311/zueriwieneu_lv95.csv.gz", "content = true", 62_245, 62_245, 62_245),
    ("cad/sffd_cad_2020-04.csv.gz", r#"columns = ["RowID"], case_key = ["Call Number"]"#, 10_410, 10_410, 5_292),
    ("cad/montgomery911_2015-12_2016-08.csv.gz", "row = true", 99_492, 99_492, 99_492),
    ("tasks/receipt_wabo.csv.gz", r#"row = true, case_key = ["case:concept:name"]"#, 8_577, 8_577, 1_434),
];

#[tokio::test]
async fn every_row_of_the_real_files_becomes_a_record() {
    let Some(folder) = shared() else { return };
    for (file, identity, rows, ids, cases) in FILES {
        let all = drain(&folder, &format!("identity = {{ {identity} }}\nfiles = {{ path = \"{file}\" }}")).await;
        let refused: Vec<&str> = all.refused.iter().map(|refused| refused.reason.as_str()).collect();
        assert!(refused.is_empty(), "{file}: {refused:?}");
        assert_eq!(all.records.len(), rows, "{file}: rows");
        assert_eq!(all.ids.len(), ids, "{file}: records");
        assert_eq!(all.cases.len(), cases, "{file}: cases");
        let deliveries: BTreeSet<&str> = all.records.iter().map(|found| found.delivery.as_str()).collect();
        assert_eq!(deliveries.len(), rows, "{file}: each row is a delivery of its own");
    }
}

#[tokio::test]
async fn exact_duplicates_of_zurich_are_kept_and_numbered() {
    let Some(folder) = shared() else { return };
    let toml = "identity = { content = true }\nfiles = { path = \"311/zueriwieneu_lv95.csv.gz\" }";
    let all = drain(&folder, toml).await;
    assert_eq!(all.records.iter().filter(|found| found.occurrence > 1).count(), 232);
}

#[tokio::test]
async fn a_repeated_header_of_the_task_log_is_numbered() {
    let Some(folder) = shared() else { return };
    let toml = r#"
        identity = { content = true, case_key = ["number"] }
        files = { path = "tasks/itsm_incident_event_log.csv.gz", columns = ["category", "category_2"] }"#;
    let all = drain(&folder, toml).await;
    assert_eq!((all.records.len(), all.cases.len(), all.refused.len()), (141_712, 24_918, 0));
    assert_eq!(all.ids.len(), 141_712, "repeated versions keep their own identity");
}

#[tokio::test]
async fn both_years_of_the_cad_feed_are_read_under_one_profile() {
    let Some(folder) = shared() else { return };
    let toml = r#"
        identity = { columns = ["RowID"], case_key = ["Call Number"] }
        files = { path = "cad/sffd_cad_*.csv.gz", columns = ["On Scene DtTm"] }"#;
    let all = drain(&folder, toml).await;
    assert_eq!(all.records.len(), 10_410 + 7_704);
}

#[tokio::test]
async fn a_nested_document_is_read_where_its_records_lie() {
    let Some(folder) = shared() else { return };
    let toml = r#"
        identity = { columns = ["properties.shapeID"] }
        files = { path = "kz/stale_geoBoundaries-KAZ-ADM2.geojson.gz", records = "features" }"#;
    let all = drain(&folder, toml).await;
    assert_eq!((all.records.len(), all.refused.len()), (174, 0));
}
