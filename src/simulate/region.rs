//! The region the story plays in: where, about what, and who answers for it. Codes and
//! places are facts (see `examples/karaganda/README.md`); volumes, norms and how good a
//! body is are invented.

use super::dice::fnv;

/// A place problems come from.
pub(crate) struct District {
    /// KATO code as the doors send it.
    pub(crate) kato: &'static str,
    /// Short name in codes of bodies and units.
    pub(crate) code: &'static str,
    /// Name as an operator would type it.
    pub(crate) name: &'static str,
    /// Share of the region's problems, in thousands of residents.
    pub(crate) weight: f64,
    /// WGS 84 degrees.
    pub(crate) longitude: f64,
    /// WGS 84 degrees.
    pub(crate) latitude: f64,
    /// Long ways for emergency units.
    pub(crate) rural: bool,
}

macro_rules! district {
    ($kato:literal, $code:literal, $name:literal, $weight:literal, $longitude:literal, $latitude:literal, $rural:literal) => {
        District {
            kato: $kato,
            code: $code,
            name: $name,
            weight: $weight,
            longitude: $longitude,
            latitude: $latitude,
            rural: $rural,
        }
    };
}

/// Districts and cities after 2022.
pub(crate) const DISTRICTS: [District; 14] = [
    district!("351011100", "bokeikhan", "Әлихан Бөкейхан ауданы", 220.0, 73.190, 49.880, false),
    district!("351013100", "kazybek-bi", "Қазыбек би ауданы", 290.0, 73.090, 49.800, false),
    district!("351600000", "balkhash", "Балқаш қ.", 78.0, 74.982, 46.845, false),
    district!("352100000", "priozersk", "Приозерск қ.", 13.0, 73.702, 46.031, false),
    district!("352200000", "saran", "Саран қ.", 45.0, 72.832, 49.802, false),
    district!("352400000", "temirtau", "Теміртау қ.", 180.0, 72.955, 50.052, false),
    district!("352800000", "shakhtinsk", "Шахтинск қ.", 39.0, 72.593, 49.707, false),
    district!("353200000", "abai", "Абай ауданы", 55.0, 72.865, 49.635, true),
    district!("353600000", "aktogay", "Ақтоғай ауданы", 17.0, 75.300, 48.167, true),
    district!("354000000", "bukhar-zhyrau", "Бұқар жырау ауданы", 57.0, 73.729, 50.063, true),
    district!("354800000", "karkaraly", "Қарқаралы ауданы", 35.0, 75.472, 49.412, true),
    district!("355200000", "nura", "Нұра ауданы", 22.0, 71.540, 50.260, true),
    district!("355600000", "osakarov", "Осакаров ауданы", 29.0, 72.573, 50.563, true),
    district!("356400000", "shet", "Шет ауданы", 42.0, 73.673, 48.768, true),
];

/// Codes of what left for Ulytau region in 2022. Doors go on sending them.
pub(crate) const LEFT_IN_2022: [&str; 5] = ["351800000", "352000000", "352300000", "354400000", "356000000"];

/// Streets that every town of the story has.
pub(crate) const STREETS: [&str; 12] = [
    "Абай к-сі",
    "Бұқар жырау даңғ.",
    "Бейбітшілік б-ры",
    "Гоголь к-сі",
    "Ермеков к-сі",
    "Ленин к-сі (ескі атау)",
    "Металлургтер даңғ.",
    "Мұқанов к-сі",
    "Нұркен Әбдіров даңғ.",
    "Сәтбаев к-сі",
    "Тәуелсіздік даңғ.",
    "Шахтерлер к-сі",
];

/// A category of problems.
pub(crate) struct Category {
    /// Code the 109 door sends.
    pub(crate) code: &'static str,
    /// Name in the service list.
    pub(crate) name: &'static str,
    /// Term in hours.
    pub(crate) norm_hours: i64,
    /// Branch of the body that answers for it.
    pub(crate) branch: &'static str,
    /// Mean a day in the whole region, by 109.
    pub(crate) daily: f64,
    /// When it peaks.
    pub(crate) season: Season,
    /// Service code of the Open311 door, where residents can report it there.
    pub(crate) service_code: Option<&'static str>,
}

/// When a kind of problem is frequent.
#[derive(Clone, Copy)]
pub(crate) enum Season {
    /// October to April.
    Cold,
    /// March to May.
    Thaw,
    /// June to September.
    Warm,
    /// November to January.
    Dark,
    /// All the year.
    Even,
}

impl Season {
    /// Factor on the mean in `month`, 1–12.
    pub(crate) fn factor(self, month: u32) -> f64 {
        match (self, month) {
            (Self::Cold, 11 | 12 | 1 | 2) => 2.0,
            (Self::Cold, 10 | 3 | 4) => 1.3,
            (Self::Cold, _) => 0.2,
            (Self::Thaw, 3..=5) => 2.0,
            (Self::Thaw, _) => 0.7,
            (Self::Warm, 6..=9) => 1.6,
            (Self::Warm, _) => 0.7,
            (Self::Dark, 11 | 12 | 1) => 1.6,
            (Self::Dark, _) => 0.8,
            (Self::Even, _) => 1.0,
        }
    }
}

macro_rules! category {
    ($code:literal, $name:literal, $norm:literal, $branch:literal, $daily:literal, $season:ident, $service:expr) => {
        Category {
            code: $code,
            name: $name,
            norm_hours: $norm,
            branch: $branch,
            daily: $daily,
            season: Season::$season,
            service_code: $service,
        }
    };
}

/// What people report.
pub(crate) const CATEGORIES: [Category; 12] = [
    category!("heating", "Жылу", 24, "utilities", 34.0, Cold, None),
    category!("water", "Су", 24, "utilities", 42.0, Even, None),
    category!("sewer", "Кәріз", 24, "utilities", 18.0, Thaw, Some("011")),
    category!("electricity", "Электр жарығы", 12, "utilities", 30.0, Dark, None),
    category!("lift", "Лифт", 24, "housing", 9.0, Even, None),
    category!("house", "Үй-жай", 120, "housing", 24.0, Even, None),
    category!("waste", "Қоқыс", 72, "improvement", 28.0, Warm, Some("001")),
    category!("lighting", "Көше жарығы", 72, "improvement", 16.0, Dark, Some("002")),
    category!("greenery", "Ағаштар", 240, "improvement", 8.0, Warm, Some("003")),
    category!("snow", "Қар", 48, "roads", 20.0, Cold, Some("004")),
    category!("road", "Жол", 360, "roads", 26.0, Thaw, Some("005")),
    category!("bus", "Автобус", 120, "transport", 20.0, Even, Some("010")),
];

/// The body that answers for `branch` in `district`.
pub(crate) fn body(district: usize, branch: &str) -> String {
    format!("{}-{branch}", DISTRICTS[district].code)
}

/// How much longer than usual a body takes. About one in six is bad at it.
pub(crate) fn slowness(body: &str) -> f64 {
    let draw = (fnv(body, 7) >> 16) % 600;
    let fine = (draw % 100) as f64 / 100.0;
    if draw < 100 { 2.4 + 1.4 * fine } else { 0.6 + 0.7 * fine }
}

/// Relative load of each hour of the local day, for people who call.
pub(crate) const CALLING_HOURS: [f64; 24] = [
    0.6, 0.4, 0.3, 0.2, 0.2, 0.4, 0.9, 2.0, 4.5, 7.0, 7.5, 7.0, 5.5, 5.5, 6.5, 6.5, 6.0, 6.0, 6.5, 6.0, 4.5, 3.0, 1.8,
    1.0,
];

/// Relative load of each hour of the local day, for emergencies.
pub(crate) const EMERGENCY_HOURS: [f64; 24] = [
    3.2, 2.6, 2.2, 2.0, 2.0, 2.2, 2.8, 3.6, 4.4, 4.8, 5.0, 5.0, 4.8, 4.6, 4.6, 4.8, 5.0, 5.4, 5.8, 6.0, 5.8, 5.2, 4.6,
    3.8,
];
