//! The random numbers: a counter-based generator and what is made of its draws.
//!
//! Only integers and IEEE 754's basic operations and square root are used, so the same seed gives the same bits on every
//! machine; `f64::ln` and its like are left alone, because they are the platform's.

/// What a draw is for. The numbers are part of what a seed means: they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Purpose {
    /// Whether a packet is lost, and what its two-state chain does.
    Loss = 1,
    /// Whether it comes twice.
    Duplicate = 2,
    /// How much its delay varies.
    Jitter = 3,
    /// Whether it is held back, and for how long.
    Reorder = 4,
    /// Whether it is damaged, and where.
    Corrupt = 5,
    /// Whether it is turned into a reset.
    Reset = 6,
}

/// The draws of one direction of one link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice {
    seed: u64,
    direction: u8,
}

impl Dice {
    pub(crate) const fn new(seed: u64, direction: u8) -> Self {
        Self { seed, direction }
    }

    /// The two draws for one purpose on one copy (0: the packet itself) of packet `number`.
    pub(crate) fn roll(self, purpose: Purpose, number: u64, copy: u8) -> [u64; 2] {
        let [number_low, number_high] = halves(number);
        let place = u32::from(self.direction) | u32::from(copy) << 8;
        let [a, b, c, d] = philox4x32([number_low, number_high, purpose as u32, place], halves(self.seed));
        [join(a, b), join(c, d)]
    }
}

const fn halves(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
const fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut round = 0;
    while round < 10 {
        let first = 0xD251_1F53 * counter[0] as u64;
        let second = 0xCD9E_8D57 * counter[2] as u64;
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        round += 1;
    }
    counter
}

/// One step of the 53 bits that a uniform draw in [0, 1) has.
const STEP: f64 = 1.0 / (1_u64 << 53) as f64;

/// Whether a draw falls under a probability. What falls under one falls under every greater one.
pub(crate) fn chance(draw: u64, probability: f64) -> bool {
    ((draw >> 11) as f64) * STEP < probability
}

/// A whole number from 0 to `end` - 1, each as probable as the others (0 where there is none).
pub(crate) const fn below(draw: u64, end: u64) -> u64 {
    ((draw as u128 * end as u128) >> 64) as u64
}

/// A number strictly between 0 and 1.
fn inside(draw: u64) -> f64 {
    ((draw >> 12) as f64 + 0.5) * (2.0 * STEP)
}

/// A draw of the standard normal distribution: the inverse of its distribution function, by Wichura's AS 241 (PPND7,
/// seven digits).
pub(crate) fn normal(draw: u64) -> f64 {
    normal_quantile(inside(draw))
}

fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        let above = ((59.109_374_720 * r + 159.291_132_02) * r + 50.434_271_938) * r + 3.387_132_717_9;
        let under = ((67.187_563_600 * r + 78.757_757_664) * r + 17.895_169_469) * r + 1.0;
        return q * above / under;
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-ln(tail)).sqrt();
    let size = if r <= 5.0 {
        let r = r - 1.6;
        let above = ((0.170_238_211_03 * r + 1.306_728_481_6) * r + 2.756_815_390_0) * r + 1.423_437_277_7;
        above / ((0.120_211_329_75 * r + 0.737_001_642_50) * r + 1.0)
    } else {
        let r = r - 5.0;
        let above = ((0.017_337_203_997 * r + 0.428_682_943_37) * r + 3.081_226_386_0) * r + 6.657_905_115_0;
        above / ((0.012_258_202_635 * r + 0.241_978_942_25) * r + 1.0)
    };
    if q < 0.0 { -size } else { size }
}

/// A draw of Pareto's distribution, moved to begin at 0 (Lomax), of scale 1: mean 1 / (`shape` - 1) for a shape over 1.
pub(crate) fn pareto(draw: u64, shape: f64) -> f64 {
    exp(-ln(inside(draw)) / shape) - 1.0
}

/// The natural logarithm of a normal, positive number.
fn ln(x: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i32 - 1023;
    let mut mantissa = f64::from_bits(bits & FRACTION | 1023 << 52);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh t
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let series = (0..=11).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * t * series
}

/// The exponential of a number that is not negative; infinity where it is too great.
fn exp(x: f64) -> f64 {
    if x > 709.0 {
        return f64::INFINITY;
    }
    let power = (x * std::f64::consts::LOG2_E) as u64;
    let rest = x - power as f64 * std::f64::consts::LN_2;
    let series = (1..=18).rev().fold(1.0, |sum, k| 1.0 + sum * rest / f64::from(k));
    series * f64::from_bits((power + 1023) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `kat_vectors` of Random123, the authors' own implementation.
    #[test]
    fn philox_gives_its_published_vectors() {
        let vectors = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in vectors {
            assert_eq!(philox4x32(counter, key), expected);
        }
    }

    #[test]
    fn a_roll_is_philox_of_what_it_is_told() {
        let dice = Dice::new(0x299f_31d0_a409_3822, 0x44);
        let expected = philox4x32([0x243f_6a88, 0x85a3_08d3, 5, 0x0144], [0xa409_3822, 0x299f_31d0]);
        let [low, high] = dice.roll(Purpose::Corrupt, 0x85a3_08d3_243f_6a88, 1);
        assert_eq!([low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32], expected);
    }

    #[test]
    fn chances_at_their_ends() {
        assert!(!chance(0, 0.0));
        assert!(chance(0, STEP));
        assert!(chance(u64::MAX, 1.0));
        assert!(!chance(u64::MAX, 1.0 - STEP));
        assert!(!chance(0, f64::NAN));
    }

    #[test]
    fn below_reaches_both_ends() {
        assert_eq!(below(0, 10), 0);
        assert_eq!(below(u64::MAX, 10), 9);
        assert_eq!(below(u64::MAX, u64::MAX), u64::MAX - 1);
        assert_eq!(below(u64::MAX, 0), 0);
    }

    /// The test values that AS 241 was published with.
    #[test]
    fn normal_quantiles_of_as_241() {
        for (p, expected) in [(0.25, -0.674_489_75), (0.001, -3.090_232_3), (1e-20, -9.262_340_1)] {
            let got = normal_quantile(p);
            assert!((got - expected).abs() < 1e-6, "{p}: {got}");
            if p > 1e-10 {
                assert!((normal_quantile(1.0 - p) + expected).abs() < 1e-6, "1 - {p}");
            }
        }
        assert!(normal(0).is_finite() && normal(u64::MAX).is_finite());
    }

    #[test]
    fn logarithm_and_exponential_agree_with_the_platforms() {
        for draw in
            (0..64).flat_map(|shift| [1_u64 << shift, u64::MAX >> shift, 0x9E37_79B9_7F4A_7C15 >> shift])
        {
            let x = inside(draw);
            assert!((ln(x) - x.ln()).abs() <= 1e-15 * x.ln().abs().max(0.1), "ln {x}: {} {}", ln(x), x.ln());
            let y = -x.ln() * 10.0;
            assert!((exp(y) - y.exp()).abs() <= 1e-12 * y.exp(), "exp {y}");
        }
        assert_eq!(exp(1e6), f64::INFINITY);
    }
}
