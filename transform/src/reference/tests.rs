#![allow(clippy::unwrap_used)]

use ahual_schemas::Day;

use super::*;

/// Reads files laid over what ships: path and text.
fn read(files: &[(&str, &str)]) -> Result<Arc<Reference>, String> {
    let mut all = Files::built_in();
    for (path, text) in files {
        all.put(path, (*path).to_owned(), (*text).to_owned());
    }
    Reference::read(&all, &ReferenceConfig::default()).map_err(|e| e.to_string())
}

const WORDS: &str = "# version: 3\nsource,word,category,valid_from,valid_to\n";
const DAY_2020: Day = Day(18_300);
const DAY_2025: Day = Day(20_100);

#[test]
fn what_ships_is_whole() {
    let reference = Reference::built_in().unwrap();
    let names: Vec<&str> = reference.tables().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["ref.territories", "ref.bodies", "ref.categories", "ref.category_mapping", "ref.norms"]);
    for category in reference.categories.iter() {
        assert!(category.name_kk.is_some() && category.name_ru.is_some() && category.name_en.is_some());
        assert_eq!(reference.categories.upwards(&category.code).count(), usize::try_from(category.level).unwrap());
    }
    for body in reference.bodies.iter() {
        assert!(body.name_kk.is_some() && body.name_ru.is_some() && body.name_en.is_some(), "{}", body.code);
    }
    for row in reference.territories.iter() {
        assert!(row.name_kk.is_some() && row.name_ru.is_some() && row.name_en.is_some(), "{}", row.kato);
    }
}

#[test]
fn the_norms_of_an_ambulance_are_those_of_its_category() {
    let reference = Reference::built_in().unwrap();
    let minutes = |category: &str| {
        let norm = reference.norms.of(&reference.categories, "arrival", Some(category), DAY_2025);
        norm.map(|norm| norm.limit_s / 60)
    };
    let ambulance: Vec<_> = (1..=4).map(|n| minutes(&format!("ambulance-{n}"))).collect();
    assert_eq!(ambulance, [Some(10), Some(15), Some(30), Some(60)]);
    assert_eq!(minutes("police-1"), None, "none is known");
    assert_eq!(reference.norms.of(&reference.categories, "no such stage", Some("ambulance-1"), DAY_2025), None);
}

#[test]
fn a_norm_holds_below_its_category_and_for_its_time() {
    let norms = "# version: 1\nmeasure,category,limit_s,valid_from,valid_to,basis,certainty\n\
        resolution,,900,,,order 1,configuration\nresolution,utilities,600,,2021-01-01,order 2,configuration\n\
        resolution,utilities,500,2021-01-01,,order 3,configuration\nresolution,water-leak,60,,,order 4,configuration\n";
    let reference = read(&[("norms/ours.csv", norms)]).unwrap();
    let limit = |category: Option<&str>, day| {
        reference.norms.of(&reference.categories, "resolution", category, day).map(|norm| norm.limit_s)
    };
    assert_eq!(limit(Some("water-leak"), DAY_2025), Some(60));
    assert_eq!(limit(Some("water-none"), DAY_2020), Some(600));
    assert_eq!(limit(Some("water-none"), DAY_2025), Some(500));
    assert_eq!(limit(Some("road"), DAY_2025), Some(900));
    assert_eq!(limit(None, DAY_2025), Some(900));
    assert_eq!(limit(Some("no such category"), DAY_2025), Some(900));
}

#[test]
fn a_source_is_understood_by_its_own_words_first() {
    let words = format!(
        "{WORDS}door,Вода,water,,2021-01-01\ndoor,Вода,sewer,2021-01-01,\n*,вода,water,,\n*,lift,house,,\n\
         door,лифт,lift,,\n"
    );
    let reference = read(&[("category_words/w.csv", &words)]).unwrap();
    let of = |source: &str, word: &str, day| reference.categories.of(source, word, day);
    assert_eq!(of("door", " ВОДА ", Some(DAY_2020)), Some("water"));
    assert_eq!(of("door", "вода", Some(DAY_2025)), Some("sewer"));
    assert_eq!(of("door", "вода", None), Some("sewer"), "without a day, the newest");
    assert_eq!(of("other", "вода", Some(DAY_2025)), Some("water"));
    assert_eq!(of("other", "lift", None), Some("house"), "a word comes before a code of the same name");
    assert_eq!(of("other", "road-pothole", None), Some("road-pothole"), "a code is its own word");
    assert_eq!(of("door", "воды", None), None);
    assert_eq!(of("door", "", None), None);
}

#[test]
fn what_does_not_fit_together_is_refused_with_its_line() {
    let refused = |path: &str, text: &str, said: &str| {
        let told = read(&[(path, text)]).unwrap_err();
        assert!(told.contains(said), "{said}: {told}");
    };
    let words = |row: &str| format!("{WORDS}{row}\n");
    refused(
        "category_words/w.csv",
        &words("door,вода,wter,,"),
        "category_words/w.csv, line 3: there is no category 'wter'",
    );
    refused("category_words/w.csv", &words("door,,water,,"), "line 3: word is blank");
    let twice = words("door,вода,water,,2022-01-01\ndoor,ВОДА,sewer,2021-12-31,");
    refused("category_words/w.csv", &twice, "line 4: 'ВОДА' of door has two meanings on one day");
    let categories = "# version: 1\ncode,level,parent,name_kk,name_ru,name_en,valid_from,valid_to\n";
    let category = |row: &str| format!("{categories}{row}\n");
    refused("categories/c.csv", &category("pipes,2,,,,,,"), "its parent must be a category of level 1");
    refused("categories/c.csv", &category("pipes,2,water,,,,,"), "its parent must be a category of level 1");
    refused("categories/c.csv", &category("pipes,1,water,,,,,"), "is of level 1 and has a parent");
    refused("categories/c.csv", &category("pipes,4,water,,,,,"), "there are the levels 1, 2 and 3");
    refused("categories/c.csv", &category("Pipes,1,,,,,,"), "has capitals");
    refused("categories/c.csv", &category("water,1,,,,,,"), "category water stands in reference data twice");
    let bodies = "# version: 1\ncode,name_kk,name_ru,name_en,branch,territory,parent,valid_from,valid_to,successor\n";
    refused("bodies/b.csv", &format!("{bodies}a,,,,,359900000,,,,\n"), "territory '359900000' is no known code");
    refused("bodies/b.csv", &format!("{bodies}a,,,,,,b,,,\n"), "its parent 'b' is no body");
    let norms = "# version: 1\nmeasure,category,limit_s,valid_from,valid_to,basis,certainty\n";
    refused(
        "norms/n.csv",
        &format!("{norms}arrival,ambulance-1,60,,,x,read\n"),
        "two norms of arrival hold on one day",
    );
    refused("norms/n.csv", &format!("{norms}wait,,0,,,x,read\n"), "limit_s must be more than 0");
    refused("norms/n.csv", &format!("{norms}wait,,60,,,x,surely\n"), "'surely' is no certainty");
    refused("norms/n.csv", &format!("{norms}wait,,60,,,,read\n"), "basis is blank");
}

#[test]
fn a_named_file_that_is_not_there_is_named_with_its_key() {
    let config = ReferenceConfig { classifier: Some("nowhere.csv".into()), ..ReferenceConfig::default() };
    let said = Reference::load(&config, Path::new("/folder")).unwrap_err().to_string();
    assert!(said.contains("/folder/nowhere.csv: cannot be read"), "{said}");
    assert!(said.contains("reference.classifier names a file"), "{said}");
}

#[test]
fn the_fingerprint_follows_every_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.json"), "[]").unwrap();
    let config = || {
        let settlements = SettlementsConfig { file: Some("s.json".into()), within_km: 5 };
        ReferenceConfig { settlements, ..ReferenceConfig::default() }
    };
    let first = Reference::load(&config(), folder.path()).unwrap();
    assert_ne!(first.fingerprint(), Reference::built_in().unwrap().fingerprint());
    std::fs::write(folder.path().join("s.json"), r#"[{"kato":"351610000","lat":46.8,"lng":75}]"#).unwrap();
    assert_ne!(first.fingerprint(), Reference::load(&config(), folder.path()).unwrap().fingerprint());
}
