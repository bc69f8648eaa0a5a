//! A target without a fuzzer: the same inputs in every run, in a few seconds.

use std::path::{Path, PathBuf};

/// Inputs of each target beside its corpus.
const INPUTS: u64 = 5_000;
/// A few more bytes reach nothing that these do not.
const INPUT_BYTES_MAX: u64 = 300;

/// Runs every input of `folder`, then seeded ones made from them and from nothing. What broke is
/// printed, because a panic tells only how.
///
/// # Panics
/// When the target does, or the folder has no inputs.
pub fn replay(folder: &Path, run: fn(&[u8])) {
    let corpus = corpus(folder);
    assert!(corpus.len() >= 5, "{} has seeds", folder.display());
    let run = |input: &[u8]| {
        let _telling = Telling(input);
        run(input);
    };
    for (path, input) in &corpus {
        println!("{}", path.display());
        run(input);
    }
    let mut random = Random(u64::from_le_bytes(*b"anser 01"));
    for n in 0..INPUTS {
        let input = if n % 4 == 0 {
            random.bytes()
        } else {
            let (_, seed) = &corpus[random.below(corpus.len() as u64) as usize];
            let (_, other) = &corpus[random.below(corpus.len() as u64) as usize];
            let other = &other[..other.len().min(64)];
            random.mutated(seed.clone(), other)
        };
        run(&input);
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = self.below(INPUT_BYTES_MAX);
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// A few changes of the kinds that a fuzzer makes.
    fn mutated(&mut self, mut input: Vec<u8>, other: &[u8]) -> Vec<u8> {
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() as u64 + 1) as usize;
            let until = at + self.below((input.len() - at) as u64 + 1) as usize;
            match self.below(6) {
                0 => input.truncate(at),
                1 => input.insert(at, self.next() as u8),
                2 => drop(input.drain(at..until.min(at + 8))),
                3 => input.extend_from_within(at..until),
                4 => input.splice(at..until, other.iter().copied()).for_each(drop),
                _ => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
        }
        input
    }
}

/// Tells which input broke.
struct Telling<'a>(&'a [u8]);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input: {:?}", self.0);
        }
    }
}

fn corpus(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(folder).expect("a folder of inputs");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect()
}
