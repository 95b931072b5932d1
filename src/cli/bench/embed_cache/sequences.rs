//! Which texts are embedded one after the other, by number: the ways in which texts come back.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cli::bench::zipf::Zipf;

/// Numbers from here on are used once.
const ONCE: u32 = 1 << 30;

pub struct Sequence {
    pub name: &'static str,
    pub texts: Vec<u32>,
}

/// Made for a cache with room for so many texts; the same in every run.
pub fn all(room: usize) -> [Sequence; 4] {
    let mut random = StdRng::seed_from_u64(1);
    [
        Sequence { name: "ten times as many texts as there is room for, by Zipf", texts: uneven(room, &mut random) },
        Sequence { name: "a few texts again and again among others used once", texts: stream(room, &mut random) },
        Sequence { name: "a working set, and a scan of twice the room now and then", texts: scans(room, &mut random) },
        Sequence { name: "a loop over a tenth more texts than there is room for", texts: repeated(room) },
    ]
}

fn uneven(room: usize, random: &mut StdRng) -> Vec<u32> {
    let zipf = Zipf::new(10 * room, 0.9);
    (0..100 * room).map(|_| zipf.choose(random) as u32).collect()
}

/// One text in ten is one of a twentieth of the room: each comes back after half the room's worth of others.
fn stream(room: usize, random: &mut StdRng) -> Vec<u32> {
    let few = (room / 20).max(1) as u32;
    let text = |number| if random.random_range(0..10) == 0 { random.random_range(0..few) } else { ONCE + number };
    (0..50 * room as u32).map(text).collect()
}

fn scans(room: usize, random: &mut StdRng) -> Vec<u32> {
    let zipf = Zipf::new(room, 0.7);
    let mut texts = Vec::new();
    for scan in 0..10_u32 {
        texts.extend((0..5 * room).map(|_| zipf.choose(random) as u32));
        let first = ONCE + scan * 2 * room as u32;
        texts.extend(first..first + 2 * room as u32);
    }
    texts
}

fn repeated(room: usize) -> Vec<u32> {
    let texts = (room + room / 10) as u32;
    (0..30).flat_map(|_| 0..texts).collect()
}
