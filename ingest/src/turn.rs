//! Where a connector stands that asks its source for everything again and again: in
//! which cycle, and at which page of it. It names what is found there, so that a page that
//! is read twice (its records were not durable when the process died) gives the same
//! deliveries, and one that is read in a later cycle gives others.

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::connector::Item;

/// Part of such a connector's position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// Cycles that gave something.
    cycle: u64,
    /// Pages read in this cycle.
    page: u64,
    /// Whether this cycle gave something.
    gave: bool,
}

impl Turn {
    /// Name of what was found at `place` of this page.
    pub(crate) fn delivery(&self, place: impl Display) -> String {
        format!("{self}:{place}")
    }

    /// Pages read in this cycle.
    pub(crate) fn page(&self) -> u64 {
        self.page
    }

    /// Notes what this page gave.
    pub(crate) fn note(&mut self, items: &[Item]) {
        self.gave |= !items.is_empty();
    }

    /// Goes on to the next page, or, where there are no more, to the next cycle. A cycle
    /// that gave nothing is not counted: an idle source leaves its cursor as it is.
    pub(crate) fn advance(&mut self, more: bool) {
        if more {
            self.page += 1;
        } else {
            self.cycle += u64::from(self.gave);
            self.gave = false;
            self.page = 0;
        }
    }

    /// In words for an operator.
    pub(crate) fn summary(&self) -> String {
        format!("cycle {}, page {}", self.cycle, self.page)
    }
}

impl Display for Turn {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "c{}p{}", self.cycle, self.page)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn an_idle_cycle_leaves_the_position_and_another_gets_names_of_its_own() {
        let found = [Item::of_json(Bytes::from_static(b"{}"), "d".to_owned(), None)];
        let mut turn = Turn::default();
        turn.advance(false);
        assert_eq!(turn, Turn::default());
        turn.note(&found);
        turn.advance(true);
        assert_eq!(turn.delivery(3), "c0p1:3");
        turn.note(&[]);
        turn.advance(false);
        assert_eq!((turn.to_string().as_str(), turn.delivery("odd").as_str()), ("c1p0", "c1p0:odd"));
        let said = serde_json::to_string(&turn).unwrap();
        assert_eq!(serde_json::from_str::<Turn>(&said).unwrap(), turn);
    }
}
