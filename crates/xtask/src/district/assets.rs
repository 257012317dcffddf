//! The demo assets: 80 of each of five kinds, spread over all villages, so that devices have something to stand on.
//!
//! Ids are `{kind}-{number}`; the point lies in the village it is registered in, away from the border.

use super::geometry::{Site, distance2, in_box};
use super::{Row, short_name};

const PER_KIND: usize = 80;

struct Kind {
    prefix: &'static str,
    category: &'static str,
    what: &'static str,
    owner: &'static str,
    maintainer: &'static str,
}

const KINDS: [Kind; 5] = [
    Kind {
        prefix: "wl",
        category: "flood.level",
        what: "河道水位断面",
        owner: "dept:water",
        maintainer: "dept:water",
    },
    Kind {
        prefix: "smk",
        category: "fire.smoke",
        what: "居民楼烟感点位",
        owner: "company:property",
        maintainer: "company:property",
    },
    Kind {
        prefix: "mh",
        category: "part.manhole",
        what: "污水井盖",
        owner: "company:drainage",
        maintainer: "company:muni",
    },
    Kind {
        prefix: "gas",
        category: "pipe.gas",
        what: "燃气调压箱",
        owner: "company:gas",
        maintainer: "company:gas",
    },
    Kind {
        prefix: "nd",
        category: "env",
        what: "噪声扬尘监测点",
        owner: "dept:eco",
        maintainer: "dept:eco",
    },
];

/// The content of `assets.tsv`, sorted by kind and number.
pub(crate) fn table(rows: &[Row]) -> String {
    let villages: Vec<_> = rows.iter().filter(|row| row.is_village()).collect();
    let mut out = String::from(
        "id\tcategory\tname\towner_unit\tmaintainer_unit\tplace\tlon_e6\tlat_e6\tdatum\n",
    );
    for (kind_no, kind) in KINDS.iter().enumerate() {
        let Kind { prefix, category, what, owner, maintainer } = kind;
        for number in 1..=PER_KIND {
            let turn = (number - 1) * KINDS.len() + kind_no;
            let village = villages[turn % villages.len()];
            let Site { lon, lat } = point(village, &villages, turn);
            let (place, area) = (&village.id, short_name(&village.name));
            out += &format!(
                "{prefix}-{number:04}\t{category}\t{area}{what}{number:04}\t{owner}\t{maintainer}\t{place}\t{lon}\t{lat}\tWGS84\n"
            );
        }
    }
    out
}

/// A point near the village's own, halved towards it until it is clearly in the village's cell.
fn point(village: &Row, villages: &[&Row], turn: usize) -> Site {
    let spread = |factor: usize| (turn * factor % 4001) as i64 - 2000;
    let (mut x, mut y) = (spread(1597), spread(2584));
    loop {
        let Site { lon, lat } = village.site;
        let point = Site { lon: lon + x, lat: lat + y };
        let own = distance2(point, village.site);
        // Twice as near to its own village as to any other: far from every border.
        let clear = villages
            .iter()
            .filter(|other| other.id != village.id)
            .all(|other| distance2(point, other.site) > 4 * own);
        if clear && in_box(point) {
            return point;
        }
        (x, y) = (x / 2, y / 2);
    }
}
