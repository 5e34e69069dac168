//! What the mappings of the main example make of records that are rare in the simulated
//! doors: one by one, from the payload to its events.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use ahual_schemas::sealing::Sealer;
use ahual_schemas::table::At;
use ahual_transform::mapping::{MappedEvent, Mapping, MappingConfig, Opened};
use ahual_transform::reference::Reference;
use serde_json::{Value, json};

const APPENDED_US: i64 = 1_772_500_000_000_000;

/// The mapping of a source of the main example.
async fn mapping(source: &str) -> Mapping {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/karaganda");
    let config: toml::Value = toml::from_str(&std::fs::read_to_string(folder.join("ahual.toml")).unwrap()).unwrap();
    let table = config["source"].as_array().unwrap().iter().find(|table| table["name"].as_str() == Some(source));
    let config: MappingConfig = table.unwrap()["mapping"].clone().try_into().unwrap();
    Mapping::load(source, &config, &folder, &Sealer::new("test", b"a secret of tests"), &Reference::built_in().unwrap())
        .await
        .unwrap()
}

/// The events of one record.
async fn events(
    mapping: &Mapping,
    record_id: &str,
    case_key: &str,
    payload: Value,
) -> Result<Vec<MappedEvent>, String> {
    let opened = Opened {
        record_id: record_id.to_owned(),
        case_key: case_key.to_owned(),
        appended_at: At(APPENDED_US),
        payload: payload.to_string().into(),
    };
    mapping.map(&[opened]).await.unwrap().remove(0)
}

fn kinds(events: &[MappedEvent]) -> Vec<(&str, i64)> {
    let mut kinds: Vec<(&str, i64)> =
        events.iter().map(|event| (event.kind.as_str(), event.occurred_at / 1_000_000)).collect();
    kinds.sort_unstable();
    kinds
}

fn said(own: bool, member: &str, what: Value) -> Value {
    json!({"network": "vk", "account": "invented", "body": "invented-akimat", "kato": "352400000", "own": own, member: what})
}

#[tokio::test]
async fn a_complaint_that_was_deleted_was_received_and_is_withdrawn_when_we_found_out() {
    let mapping = mapping("vk").await;
    let gone = json!({"id": 31, "from_id": 17, "date": 1_772_442_600, "deleted": true});
    let events = events(&mapping, "-7/30/31", "-7/30/31", said(false, "comment", gone)).await.unwrap();
    assert_eq!(kinds(&events), [("received", 1_772_442_600), ("withdrawn", APPENDED_US / 1_000_000)]);
    let withdrawn = events.iter().find(|event| event.kind == "withdrawn").unwrap();
    assert_eq!(withdrawn.text["outcome"], "deleted");
}

#[tokio::test]
async fn an_answer_that_was_deleted_is_no_answer_any_more() {
    let mapping = mapping("vk").await;
    let answer = json!({"id": 33, "from_id": -7, "date": 1_772_446_200, "text": "Тапсырылды"});
    let told = events(&mapping, "-7/30/33", "-7/30/31", said(true, "comment", answer)).await.unwrap();
    assert_eq!(kinds(&told), [("first_response", 1_772_446_200), ("stage", 1_772_446_200)]);
    let reply = told.iter().find(|event| event.kind == "stage").unwrap();
    assert_eq!((reply.part_id.as_deref(), reply.text["outcome"].as_str()), (Some("-7/30/33"), "official_reply"));
    let gone = json!({"id": 33, "from_id": -7, "date": 1_772_446_200, "deleted": true});
    let told = events(&mapping, "-7/30/33", "-7/30/31", said(true, "comment", gone)).await.unwrap();
    assert_eq!(kinds(&told), [("updated", 1_772_446_200)]);
    assert_eq!(told[0].part_id.as_deref(), Some("-7/30/33"));
}

#[tokio::test]
async fn an_answer_that_only_moves_to_private_messages_is_an_interim_one() {
    let mapping = mapping("vk").await;
    for text in ["Жеке хабарлама жазыңыз", "Напишите, пожалуйста, в личные сообщения", "Ждём Вас в директ"]
    {
        let answer = json!({"id": 33, "from_id": -7, "date": 1_772_446_200, "text": text});
        let told = events(&mapping, "-7/30/33", "-7/30/31", said(true, "comment", answer)).await.unwrap();
        assert_eq!(kinds(&told), [("interim_response", 1_772_446_200)], "{text}");
    }
}

#[tokio::test]
async fn own_posts_are_activity_and_nobodys_words_or_numbers_are_given_on() {
    for (source, member, post) in [
        ("vk", "post", json!({"id": 30, "from_id": -7, "date": 1_772_442_000, "text": "Invented news"})),
        (
            "telegram",
            "update",
            json!({"channel_post": {"message_id": 30, "date": 1_772_442_000, "text": "Invented news"}}),
        ),
    ] {
        let mapping = mapping(source).await;
        let told = events(&mapping, "a/30", "a/30", said(true, member, post)).await.unwrap();
        assert_eq!(kinds(&told), [("received", 1_772_442_000)], "{source}");
        assert_eq!(told[0].text["regime"], "post");
    }
    let mapping = mapping("telegram").await;
    let message = json!({"message_id": 71, "from": {"id": 900_000_017, "first_name": "Сынақ Азаматы 17"},
        "date": 1_772_442_600, "text": "An invented complaint"});
    let edited = json!({"edited_message": {"message_id": 71, "from": {"id": 900_000_017}, "date": 1_772_442_600,
        "edit_date": 1_772_446_400, "text": "An invented complaint, put right"}});
    let first = events(&mapping, "g/71", "g/71", said(false, "update", json!({"message": message}))).await.unwrap();
    let second = events(&mapping, "g/71", "g/71", said(false, "update", edited)).await.unwrap();
    assert_eq!((kinds(&first), kinds(&second)), (vec![("received", 1_772_442_600)], vec![("received", 1_772_442_600)]));
    assert!(second[0].version > first[0].version, "an edit supersedes");
    let whole = format!("{first:?}{second:?}");
    for word in ["invented complaint", "900000017", "Сынақ"] {
        assert!(!whole.contains(word), "{word} is given on: {whole}");
    }
    assert!(first[0].text["attributes"].contains("\"applicant\""));
}

#[tokio::test]
async fn a_row_of_the_portal_is_read_whichever_way_it_writes_numbers() {
    let mapping = mapping("egov").await;
    let row = |id: Value, kato: Value| {
        json!({"id": id, "number": "KRG-7", "service": "00803005", "kato": kato, "body": "saran-utilities",
            "filed_at": "2026-03-02 10:00:00", "due_on": "2026-03-07", "status": "issued", "result": "refused",
            "result_at": "2026-03-05 12:00:00", "issued_at": "2026-03-06 09:00:00", "modified": "2026-03-06 09:01:00"})
    };
    let as_numbers = events(&mapping, "7", "7", row(json!(7), json!(352_200_000))).await.unwrap();
    let as_texts = events(&mapping, "7", "7", row(json!("7"), json!("352200000"))).await.unwrap();
    assert_eq!(as_numbers, as_texts);
    let kinds: Vec<&str> = kinds(&as_texts).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["assigned", "closed", "deadline_set", "received", "updated"]);
    let closed = as_texts.iter().find(|event| event.kind == "closed").unwrap();
    assert_eq!((closed.text["outcome"].as_str(), closed.occurred_at), ("rejected", 1_772_694_000_000_000));

    let mut odd = row(json!(7), json!(352_200_000));
    odd["result"] = json!("postponed");
    let reason = events(&mapping, "7", "7", odd).await.unwrap_err();
    assert!(reason.contains("unknown result: postponed"), "{reason}");
}
