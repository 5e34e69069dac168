//! Where a point lies: in which boundary, or, without boundaries, next to which
//! settlement. Both are files the operator names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::polygon::{Point, Polygon};
use super::{Kato, Level, Territories, Written, read};
use crate::reference::{File, Problem};

/// `[reference.boundaries]`: polygons of territories.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundariesConfig {
    /// GeoJSON in WGS 84, gzip or not, relative to the configuration file.
    pub file: PathBuf,
    /// Property of a feature that holds the code.
    #[serde(default = "kato")]
    pub code: String,
    /// Codes the file gives → codes of the classifier, where they differ.
    #[serde(default)]
    pub codes: BTreeMap<String, String>,
}

/// `[reference.settlements]`: points of settlements, asked where there are no boundaries.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SettlementsConfig {
    /// JSON: an array of objects with `lat`, `lng` (or `latitude`, `longitude`) and, where
    /// it is known, `kato`. Without a file, the towns and settlements of the territories
    /// that have a centre point.
    pub file: Option<PathBuf>,
    /// How far the nearest settlement may be, kilometres.
    pub within_km: u16,
}

impl Default for SettlementsConfig {
    fn default() -> Self {
        Self { file: None, within_km: 30 }
    }
}

fn kato() -> String {
    "KATO".to_owned()
}

/// Mean radius of the earth, kilometres.
const EARTH_KM: f64 = 6371.0088;
/// A settlement of a file without codes is the one whose centre point is this near.
const SAME_PLACE_KM: f64 = 3.0;

/// Whether two numbers are a longitude and a latitude.
pub(super) fn are_degrees(longitude: f64, latitude: f64) -> bool {
    longitude.abs() <= 180.0 && latitude.abs() <= 90.0
}

/// Boundaries of territories.
#[derive(Debug)]
pub struct Boundaries {
    /// In order of code, so that the first that covers a point is the lowest.
    shapes: Vec<(Kato, Polygon)>,
}

impl Boundaries {
    /// Reads a GeoJSON file.
    pub fn read(
        config: &BoundariesConfig,
        file: &File,
        territories: &Territories,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let before = problems.len();
        let mut wrong = |what: String| problems.push(Problem { file: file.shown.clone(), line: None, what });
        let document: Value = match serde_json::from_str(&file.text) {
            Ok(document) => document,
            Err(e) => {
                wrong(format!("is no JSON: {e}"));
                return None;
            }
        };
        let Some(features) = document["features"].as_array() else {
            wrong("is no GeoJSON FeatureCollection".to_owned());
            return None;
        };
        let mut shapes = Vec::with_capacity(features.len());
        for (index, feature) in features.iter().enumerate() {
            let told = match &feature["properties"][config.code.as_str()] {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => {
                    wrong(format!(
                        "feature {index} has no property '{}'; reference.boundaries.code names it",
                        config.code
                    ));
                    continue;
                }
            };
            let code = config.codes.get(&told).unwrap_or(&told);
            let Written::Code(kato, _) = read(code) else {
                wrong(format!("feature {index}: '{code}' is no code; a code has nine digits"));
                continue;
            };
            if territories.get(kato).is_none() {
                wrong(format!(
                    "feature {index}: {kato} is no code of the classifier; name the one it stands for in reference.boundaries.codes"
                ));
                continue;
            }
            let polygon = match rings(&feature["geometry"]).map(Polygon::new) {
                Ok(Some(polygon)) => polygon,
                Ok(None) => {
                    wrong(format!("feature {index} ({kato}) is empty"));
                    continue;
                }
                Err(what) => {
                    wrong(format!("feature {index} ({kato}): {what}"));
                    continue;
                }
            };
            if !polygon.corners().iter().all(|(x, y)| are_degrees(*x, *y)) {
                wrong(format!("feature {index} ({kato}) is not in degrees; the file must be in WGS 84"));
            }
            shapes.push((kato, polygon));
        }
        if shapes.is_empty() {
            wrong("has no boundary".to_owned());
        }
        shapes.sort_by_key(|(kato, _)| *kato);
        (problems.len() == before).then_some(Self { shapes })
    }

    /// The territory a point lies in. A point on a boundary belongs to both sides; then,
    /// and where boundaries overlap, the lowest code stands.
    pub fn at(&self, longitude: f64, latitude: f64) -> Option<Kato> {
        self.shapes.iter().find(|(_, polygon)| polygon.covers((longitude, latitude))).map(|(kato, _)| *kato)
    }
}

/// The rings of a geometry, of all its parts.
fn rings(geometry: &Value) -> Result<Vec<Vec<Point>>, String> {
    let coordinates = &geometry["coordinates"];
    let parts: Vec<&Value> = match geometry["type"].as_str() {
        Some("Polygon") => vec![coordinates],
        Some("MultiPolygon") => coordinates.as_array().ok_or("its coordinates are no array")?.iter().collect(),
        other => {
            return Err(format!("is a {}; only Polygon and MultiPolygon have an inside", other.unwrap_or("nothing")));
        }
    };
    let mut rings = Vec::new();
    for part in parts {
        for told in part.as_array().ok_or("a polygon is no array of rings")? {
            let points = told.as_array().ok_or("a ring is no array of points")?;
            let ring: Vec<Point> = points
                .iter()
                .map(|point| Some((point.get(0)?.as_f64()?, point.get(1)?.as_f64()?)))
                .collect::<Option<_>>()
                .ok_or("a point is no pair of numbers")?;
            if ring.len() < 4 || ring.first() != ring.last() {
                return Err("a ring is not closed".to_owned());
            }
            rings.push(ring);
        }
    }
    Ok(rings)
}

/// The ground between two points, kilometres, by the haversine.
fn distance_km(from: Point, to: Point) -> f64 {
    let half = |a: f64, b: f64| ((b - a).to_radians() / 2.0).sin().powi(2);
    let (y1, y2) = (from.1.to_radians(), to.1.to_radians());
    let chord = half(from.1, to.1) + y1.cos() * y2.cos() * half(from.0, to.0);
    2.0 * EARTH_KM * chord.sqrt().min(1.0).asin()
}

/// Points of settlements.
#[derive(Debug)]
pub struct Settlements {
    /// In order of latitude, so that only a band around a point is looked at.
    places: Vec<(Point, Kato)>,
    within_km: f64,
    /// Settlements of the file that have no code and lie on none that has.
    pub without_code: usize,
}

impl Settlements {
    fn new(mut places: Vec<(Point, Kato)>, within_km: f64, without_code: usize) -> Self {
        places.sort_by(|(a, _), (b, _)| a.1.total_cmp(&b.1));
        Self { places, within_km, without_code }
    }

    /// The towns and settlements in force that have a point.
    pub fn of(territories: &Territories, within_km: f64) -> Self {
        let places = territories
            .iter()
            .filter(|row| matches!(row.level, Level::Town | Level::Settlement | Level::CityDistrict))
            .filter(|row| row.validity.to.is_none())
            .filter_map(|row| row.point.map(|point| (point, row.kato)))
            .collect();
        Self::new(places, within_km, 0)
    }

    /// Reads the file that `config` names; without one, the territories' own points. A
    /// settlement without a code is the one of theirs whose point is within three
    /// kilometres.
    pub fn read(
        config: &SettlementsConfig,
        file: Option<&File>,
        territories: &Territories,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        if !(1..=1000).contains(&config.within_km) {
            let what = "must be from 1 to 1000".to_owned();
            problems.push(Problem { file: "reference.settlements.within_km".to_owned(), line: None, what });
            return None;
        }
        let within_km = f64::from(config.within_km);
        let Some(file) = file else { return Some(Self::of(territories, within_km)) };
        let before = problems.len();
        let mut wrong = |what: String| problems.push(Problem { file: file.shown.clone(), line: None, what });
        let items: Vec<Value> = match serde_json::from_str(&file.text) {
            Ok(items) => items,
            Err(e) => {
                wrong(format!("is no JSON array: {e}"));
                return None;
            }
        };
        let known = Self::of(territories, SAME_PLACE_KM);
        let mut without_code = 0;
        let mut places = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let degrees = |names: [&str; 2]| names.iter().find_map(|name| number(&item[*name]));
            let point = degrees(["lng", "longitude"]).zip(degrees(["lat", "latitude"]));
            let Some((longitude, latitude)) = point.filter(|(x, y)| are_degrees(*x, *y)) else {
                wrong(format!("settlement {index} has no lat and lng in degrees"));
                continue;
            };
            let kato = match &item["kato"] {
                Value::Null => known.at(longitude, latitude),
                told => {
                    let kato = told.as_str().and_then(Kato::new).filter(|kato| territories.get(*kato).is_some());
                    if kato.is_none() {
                        wrong(format!("settlement {index}: kato {told} is no code of the classifier"));
                    }
                    kato
                }
            };
            match kato {
                Some(kato) => places.push(((longitude, latitude), kato)),
                None => without_code += 1,
            }
        }
        (problems.len() == before).then(|| Self::new(places, within_km, without_code))
    }

    /// How many settlements can be the answer.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nearest settlement that is near enough; of equally near ones the lowest code.
    pub fn at(&self, longitude: f64, latitude: f64) -> Option<Kato> {
        // A little wide, since rounding may not lose a place at the very end.
        let band = (self.within_km / EARTH_KM).to_degrees() + 1e-9;
        let first = self.places.partition_point(|((_, y), _)| *y < latitude - band);
        self.places[first..]
            .iter()
            .take_while(|((_, y), _)| *y <= latitude + band)
            .map(|(point, kato)| (distance_km(*point, (longitude, latitude)), *kato))
            .filter(|(km, _)| *km <= self.within_km)
            .min_by(|(a, one), (b, other)| a.total_cmp(b).then(one.cmp(other)))
            .map(|(_, kato)| kato)
    }
}

/// A number, or a number written as text.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// What answers where a point lies.
#[derive(Debug, Default)]
pub struct Places {
    /// Boundaries; where there are some, they alone decide.
    pub boundaries: Option<Boundaries>,
    /// Settlements.
    pub settlements: Option<Settlements>,
}

impl Places {
    /// The territory a point lies in: by its boundary, or without boundaries the district
    /// or city of the nearest settlement.
    pub fn territory(&self, territories: &Territories, longitude: f64, latitude: f64) -> Option<Kato> {
        if !are_degrees(longitude, latitude) {
            return None;
        }
        match &self.boundaries {
            Some(boundaries) => boundaries.at(longitude, latitude),
            None => self.settlement(longitude, latitude).and_then(|kato| territories.district(kato)),
        }
    }

    /// The nearest settlement.
    pub fn settlement(&self, longitude: f64, latitude: f64) -> Option<Kato> {
        self.settlements.as_ref().filter(|_| are_degrees(longitude, latitude))?.at(longitude, latitude)
    }

    /// Why a point lies in no territory; none where it lies in one.
    pub fn problem(
        &self,
        territories: &Territories,
        longitude: Option<f64>,
        latitude: Option<f64>,
    ) -> Option<&'static str> {
        let (Some(x), Some(y)) = (longitude, latitude) else { return Some("missing") };
        if x == 0.0 && y == 0.0 {
            return Some("zero");
        }
        if self.territory(territories, x, y).is_some() {
            return None;
        }
        if self.territory(territories, y, x).is_some() {
            return Some("swapped");
        }
        if !are_degrees(x, y) {
            return Some("no_degrees");
        }
        Some(match self.boundaries {
            Some(_) => "outside_boundaries",
            None => "far_from_settlements",
        })
    }
}
