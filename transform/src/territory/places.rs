//! Where a point lies: in which boundary, or, without boundaries, next to which
//! settlement. Both are files the operator names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use geo::{BoundingRect, Coord, Intersects, LineString, MultiPolygon, Polygon};
use rstar::primitives::GeomWithData;
use rstar::{AABB, RTree, RTreeObject};
use serde::Deserialize;
use serde_json::Value;

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

/// A territory's polygons.
#[derive(Debug)]
struct Shape {
    kato: Kato,
    polygons: MultiPolygon<f64>,
    envelope: AABB<[f64; 2]>,
}

impl RTreeObject for Shape {
    type Envelope = AABB<[f64; 2]>;

    fn envelope(&self) -> Self::Envelope {
        self.envelope
    }
}

/// Boundaries of territories.
#[derive(Debug)]
pub struct Boundaries {
    shapes: RTree<Shape>,
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
            let polygons = match polygons(&feature["geometry"]) {
                Ok(polygons) => polygons,
                Err(what) => {
                    wrong(format!("feature {index} ({kato}): {what}"));
                    continue;
                }
            };
            let Some(rectangle) = polygons.bounding_rect() else {
                wrong(format!("feature {index} ({kato}) is empty"));
                continue;
            };
            let (low, high) = (rectangle.min(), rectangle.max());
            if !(are_degrees(low.x, low.y) && are_degrees(high.x, high.y)) {
                wrong(format!("feature {index} ({kato}) is not in degrees; the file must be in WGS 84"));
            }
            shapes.push(Shape { kato, polygons, envelope: AABB::from_corners([low.x, low.y], [high.x, high.y]) });
        }
        if shapes.is_empty() {
            wrong("has no boundary".to_owned());
        }
        (problems.len() == before).then(|| Self { shapes: RTree::bulk_load(shapes) })
    }

    /// The territory a point lies in. A point on a boundary belongs to both sides; then,
    /// and where boundaries overlap, the lowest code stands.
    pub fn at(&self, longitude: f64, latitude: f64) -> Option<Kato> {
        let point = Coord { x: longitude, y: latitude };
        self.shapes
            .locate_in_envelope_intersecting(&AABB::from_point([longitude, latitude]))
            .filter(|shape| shape.polygons.intersects(&point))
            .map(|shape| shape.kato)
            .min()
    }
}

fn polygons(geometry: &Value) -> Result<MultiPolygon<f64>, String> {
    let coordinates = &geometry["coordinates"];
    match geometry["type"].as_str() {
        Some("Polygon") => Ok(MultiPolygon::new(vec![polygon(coordinates)?])),
        Some("MultiPolygon") => {
            let parts = coordinates.as_array().ok_or("its coordinates are no array")?;
            Ok(MultiPolygon::new(parts.iter().map(polygon).collect::<Result<_, _>>()?))
        }
        other => Err(format!("is a {}; only Polygon and MultiPolygon have an inside", other.unwrap_or("nothing"))),
    }
}

fn polygon(rings: &Value) -> Result<Polygon<f64>, String> {
    let rings = rings.as_array().ok_or("a polygon is no array of rings")?;
    let mut lines = Vec::with_capacity(rings.len());
    for ring in rings {
        let points = ring.as_array().ok_or("a ring is no array of points")?;
        let line: LineString<f64> = points
            .iter()
            .map(|point| Some(Coord { x: point.get(0)?.as_f64()?, y: point.get(1)?.as_f64()? }))
            .collect::<Option<Vec<_>>>()
            .ok_or("a point is no pair of numbers")?
            .into();
        if line.0.len() < 4 || line.0.first() != line.0.last() {
            return Err("a ring is not closed".to_owned());
        }
        lines.push(line);
    }
    let mut lines = lines.into_iter();
    let outer = lines.next().ok_or("a polygon has no ring")?;
    Ok(Polygon::new(outer, lines.collect()))
}

/// A place on the unit sphere. Chords are as long as their arcs are, in order, so the
/// nearest by chord is the nearest on the ground, across any meridian.
type Place = GeomWithData<[f64; 3], Kato>;

fn on_sphere(longitude: f64, latitude: f64) -> [f64; 3] {
    let (x, y) = (longitude.to_radians(), latitude.to_radians());
    [y.cos() * x.cos(), y.cos() * x.sin(), y.sin()]
}

/// The squared chord of a distance on the ground.
fn chord_2(km: f64) -> f64 {
    (2.0 * (km / EARTH_KM / 2.0).sin()).powi(2)
}

/// Points of settlements.
#[derive(Debug)]
pub struct Settlements {
    places: RTree<Place>,
    within_2: f64,
    /// Settlements of the file that have no code and lie on none that has.
    pub without_code: usize,
}

impl Settlements {
    /// The towns and settlements in force that have a point.
    pub fn of(territories: &Territories, within_km: f64) -> Self {
        let places = territories
            .iter()
            .filter(|row| matches!(row.level, Level::Town | Level::Settlement | Level::CityDistrict))
            .filter(|row| row.validity.to.is_none())
            .filter_map(|row| row.point.map(|(x, y)| Place::new(on_sphere(x, y), row.kato)))
            .collect();
        Self { places: RTree::bulk_load(places), within_2: chord_2(within_km), without_code: 0 }
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
                Some(kato) => places.push(Place::new(on_sphere(longitude, latitude), kato)),
                None => without_code += 1,
            }
        }
        (problems.len() == before).then(|| Self {
            places: RTree::bulk_load(places),
            within_2: chord_2(within_km),
            without_code,
        })
    }

    /// How many settlements can be the answer.
    pub fn len(&self) -> usize {
        self.places.size()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nearest settlement that is near enough; of equally near ones the lowest code.
    pub fn at(&self, longitude: f64, latitude: f64) -> Option<Kato> {
        let mut nearest = self.places.nearest_neighbor_iter_with_distance_2(&on_sphere(longitude, latitude));
        let (first, distance_2) = nearest.next().filter(|(_, distance_2)| *distance_2 <= self.within_2)?;
        nearest.take_while(|(_, other)| *other <= distance_2).map(|(place, _)| place.data).chain([first.data]).min()
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
