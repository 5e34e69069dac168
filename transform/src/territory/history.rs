//! One territory at two dates: what a code was then, and what it is now.

use ahual_schemas::Day;

use super::{Kato, Territories};

/// Which of the two questions is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The code that held on the day.
    Then,
    /// The code that holds in the last state the classifier knows.
    Now,
}

impl View {
    /// `then` or `now`.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "then" => Some(Self::Then),
            "now" => Some(Self::Now),
            _ => None,
        }
    }
}

/// More changes of one code than this there are not; a bound, not a rule.
const MOST_STEPS: usize = 64;

impl Territories {
    /// The code of the territory that `kato` names, as it was on `day` or as it is now.
    ///
    /// - A code that ended leads to its successor, one that had not begun to the code it
    ///   followed, as often as it takes.
    /// - What lies below such a code keeps its last digits (354430100 → 623630100) where
    ///   that code exists; where the classifier does not know it, the answer is the
    ///   nearest code above that it knows. A code is never made up.
    /// - A region younger than the day is answered with the one territory all its parts
    ///   came from (620000000 on 2019-05-01 is 350000000), a place younger than the day
    ///   with what lies above it.
    /// - `Then` without a day has no answer, and neither has a code of an unknown region.
    pub fn at(&self, kato: Kato, day: Option<Day>, view: View) -> Option<Kato> {
        match view {
            View::Now => self.newest(kato),
            View::Then => self.on(kato, day?),
        }
    }

    fn newest(&self, kato: Kato) -> Option<Kato> {
        let mut current = kato;
        for _ in 0..MOST_STEPS {
            match self.after(current) {
                Some(next) => current = next,
                None => break,
            }
        }
        self.known(current).map(|row| row.kato)
    }

    fn on(&self, kato: Kato, day: Day) -> Option<Kato> {
        let mut current = kato;
        for _ in 0..MOST_STEPS {
            let row = self.known(current)?;
            let next = if row.validity.to.is_some_and(|to| to <= day) {
                self.after(current)
            } else if row.validity.from.is_some_and(|from| day < from) {
                self.before(current, day)
            } else {
                return Some(row.kato);
            };
            match next {
                Some(next) => current = next,
                // It ended and nothing followed: it is what it was.
                None => return Some(row.kato).filter(|_| row.validity.from.is_none_or(|from| from <= day)),
            }
        }
        None
    }

    /// The code that followed `kato` or something above it.
    fn after(&self, kato: Kato) -> Option<Kato> {
        let ended = self.upwards(kato).find(|row| row.successor.is_some())?;
        let successor = ended.successor?;
        Some(self.moved(kato, ended.kato, successor))
    }

    /// What `kato`, which had not begun on `day`, was before.
    fn before(&self, kato: Kato, day: Day) -> Option<Kato> {
        let mut young = self.upwards(kato).take_while(|row| row.validity.from.is_some_and(|from| day < from));
        if let Some((row, earlier)) = young.find_map(|row| self.before.get(&row.kato).map(|earlier| (row, earlier))) {
            return match earlier.as_slice() {
                [one] => Some(self.moved(kato, row.kato, *one)),
                several => self.common(several),
            };
        }
        // A region that was formed of parts of others; what lies in it has no code of then.
        let first = self.upwards(kato).filter(|row| row.validity.from.is_some_and(|from| day < from)).last()?;
        match first.parent {
            Some(above) => Some(above),
            None => {
                let earlier: Vec<Kato> = self
                    .below(first.kato)
                    .iter()
                    .filter_map(|below| self.before.get(below))
                    .flatten()
                    .filter_map(|code| self.get(*code)?.parent)
                    .collect();
                self.common(&earlier)
            }
        }
    }

    /// `kato`, which is `from` or lies below it, under `to`: with its own last digits
    /// where that code exists.
    fn moved(&self, kato: Kato, from: Kato, to: Kato) -> Kato {
        Some(kato.below(from, to)).filter(|moved| self.get(*moved).is_some()).unwrap_or(to)
    }

    /// The nearest territory that all of `codes` lie in.
    fn common(&self, codes: &[Kato]) -> Option<Kato> {
        let (first, rest) = codes.split_first()?;
        self.upwards(*first)
            .map(|row| row.kato)
            .find(|candidate| rest.iter().all(|code| self.upwards(*code).any(|row| row.kato == *candidate)))
    }
}
