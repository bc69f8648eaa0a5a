//! Traces: where they go, and of how many commands.

/// What is told to a collector of traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Its URL (OTLP over gRPC); `None`: there are no traces.
    pub endpoint: Option<String>,
    /// Which of the commands that this node's connector reads are followed.
    pub sample: Share,
}

/// A share of everything, between none and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// What is mixed to a smaller number belongs to it.
    below: u64,
}

impl Share {
    /// The share between 0 and 1; `None`: it is not between them.
    pub fn new(share: f64) -> Option<Self> {
        // The nearest number below 2^64 stands for all.
        (0.0..=1.0).contains(&share).then_some(Self { below: (share * 2f64.powi(64)) as u64 })
    }

    /// Whether this number belongs to it: always the same answer, and as if by chance.
    pub(crate) fn takes(self, number: u64) -> bool {
        mixed(number) < self.below || self.below == u64::MAX
    }
}

impl Default for Share {
    fn default() -> Self {
        Self { below: (0.001 * 2f64.powi(64)) as u64 }
    }
}

/// The end of splitmix64 (Steele, Lea, Flood 2014): each bit of the number decides on each of the
/// result.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_takes_about_that_many() {
        for share in [0.0, 0.001, 0.25, 0.9, 1.0] {
            let some = Share::new(share).expect("a share");
            let taken = (0..1_000_000).filter(|number| some.takes(number << 16)).count() as f64;
            let expected = share * 1_000_000.0;
            // Six standard deviations; none at all for none and all.
            let off = 6.0 * (expected * (1.0 - share)).sqrt();
            assert!((taken - expected).abs() <= off, "{taken} of {expected}");
        }
        assert_eq!(Share::new(0.001), Some(Share::default()));
        for wrong in [-0.1, 1.1, f64::NAN] {
            assert_eq!(Share::new(wrong), None);
        }
    }
}
