//! Whether a point lies in a polygon: bounding box, then even–odd by a ray to the east.
//!
//! Every edge is taken from its southern end to its northern one, whichever way a ring
//! runs, so the two polygons that share an edge form the same numbers from it: rounding
//! can move the edge by a last bit, but a point beside it never falls into both or
//! between them. See docs/decisions/0013.

/// A point: degrees east, degrees north.
pub(super) type Point = (f64, f64);

/// Some rings: outer ones and holes, of one part or of several. A point is inside where
/// an odd number of rings is around it, or where it lies on one of them.
#[derive(Debug)]
pub(super) struct Polygon {
    rings: Vec<Vec<Point>>,
    low: Point,
    high: Point,
}

impl Polygon {
    /// A polygon of closed rings; none where there is no ring.
    pub(super) fn new(rings: Vec<Vec<Point>>) -> Option<Self> {
        let mut points = rings.iter().flatten();
        let first = *points.next()?;
        let (low, high) = points.fold((first, first), |(low, high), (x, y)| {
            ((low.0.min(*x), low.1.min(*y)), (high.0.max(*x), high.1.max(*y)))
        });
        Some(Self { rings, low, high })
    }

    /// The corners of its bounding box: south-west and north-east.
    pub(super) fn corners(&self) -> [Point; 2] {
        [self.low, self.high]
    }

    /// Whether `point` lies in it or on its boundary.
    pub(super) fn covers(&self, point: Point) -> bool {
        let (x, y) = point;
        if !(self.low.0 <= x && x <= self.high.0 && self.low.1 <= y && y <= self.high.1) {
            return false;
        }
        let mut inside = false;
        for edge in self.rings.iter().flat_map(|ring| ring.windows(2)) {
            let [a, b] = edge else { continue };
            let (south, north) = if (a.1, a.0) <= (b.1, b.0) { (*a, *b) } else { (*b, *a) };
            let side = (north.0 - south.0) * (y - south.1) - (x - south.0) * (north.1 - south.1);
            let beside = south.1 <= y && y <= north.1 && a.0.min(b.0) <= x && x <= a.0.max(b.0);
            if side == 0.0 && beside {
                return true;
            }
            // A corner belongs to the edge that begins there, going north.
            if south.1 <= y && y < north.1 && side > 0.0 {
                inside = !inside;
            }
        }
        inside
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn polygon(rings: &[&[Point]]) -> Polygon {
        let closed = |ring: &[Point]| ring.iter().chain(ring.first()).copied().collect();
        Polygon::new(rings.iter().map(|ring| closed(ring)).collect()).unwrap()
    }

    #[test]
    fn corners_edges_and_rays_through_corners() {
        // A diamond: a ray through its middle meets two corners.
        let diamond = polygon(&[&[(0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)]]);
        for inside in [(0.0, 0.0), (-0.999, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (-0.5, 0.5)] {
            assert!(diamond.covers(inside), "{inside:?}");
        }
        for outside in [(-1.001, 0.0), (1.001, 0.0), (0.9, 0.9), (-0.9, -0.9), (0.0, 1.001), (f64::NAN, 0.0)] {
            assert!(!diamond.covers(outside), "{outside:?}");
        }
        // A level edge, met from the west.
        let step = polygon(&[&[(0.0, 0.0), (4.0, 0.0), (4.0, 2.0), (2.0, 2.0), (2.0, 1.0), (0.0, 1.0)]]);
        for (point, covers) in [((1.0, 1.0), true), ((3.0, 1.0), true), ((-1.0, 1.0), false), ((1.0, 1.5), false)] {
            assert_eq!(step.covers(point), covers, "{point:?}");
        }
        assert!(Polygon::new(Vec::new()).is_none());
    }

    #[test]
    fn a_hole_is_outside_its_rim_is_inside() {
        let ring = polygon(&[
            &[(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)],
            &[(1.0, 1.0), (1.0, 3.0), (3.0, 3.0), (3.0, 1.0)],
        ]);
        assert!(!ring.covers((2.0, 2.0)));
        assert!(ring.covers((1.0, 2.0)) && ring.covers((0.5, 2.0)) && ring.covers((3.5, 2.0)));
    }

    proptest! {
        /// Of two triangles that share a slanting edge, and are told in opposite
        /// directions, each point of the square they fill lies in at least one; in both
        /// only on the edge itself.
        #[test]
        fn neighbours_leave_no_gap(
            x in 0.0..1.0_f64, y in 0.0..1.0_f64,
            from in (-0.9..0.9_f64, 0.0..1.0_f64), turn in any::<bool>(), on_edge in any::<bool>(),
        ) {
            // The shared edge leads from the south side to the north side of the square.
            let (a, b) = ((from.0.abs(), 0.0), (from.1, 1.0));
            let west: Vec<Point> = vec![(0.0, 0.0), a, b, (0.0, 1.0)];
            let mut east: Vec<Point> = vec![a, (1.0, 0.0), (1.0, 1.0), b];
            if turn {
                east.reverse();
            }
            let (west, east) = (polygon(&[&west]), polygon(&[&east]));
            let point = if on_edge { (a.0 + (b.0 - a.0) * y, y) } else { (x, y) };
            let (in_west, in_east) = (west.covers(point), east.covers(point));
            prop_assert!(in_west || in_east, "{:?} fell between", point);
            let side = (b.0 - a.0) * point.1 - (point.0 - a.0);
            if side.abs() > 1e-9 {
                prop_assert_eq!((in_west, in_east), (side > 0.0, side < 0.0));
            }
        }
    }
}
