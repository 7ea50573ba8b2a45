//! Random names for containers, an adjective and a surname, for people to type.

const ADJECTIVES: [&str; 64] = [
    "able", "amber", "apt", "bold", "brave", "bright", "brisk", "calm", "candid", "civil", "clear", "clever", "cosy",
    "deft", "eager", "early", "easy", "exact", "fair", "fast", "firm", "fond", "frank", "free", "fresh", "gentle",
    "glad", "grand", "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "level", "light", "lively",
    "loyal", "lucid", "merry", "mild", "neat", "noble", "patient", "plain", "polite", "prompt", "proud", "quick",
    "quiet", "ready", "serene", "sharp", "smart", "solid", "spry", "steady", "sunny", "tidy", "vivid", "warm", "wise",
    "witty",
];

const SURNAMES: [&str; 64] = [
    "abel",
    "ampere",
    "bernoulli",
    "bessel",
    "bohr",
    "boole",
    "borel",
    "brahe",
    "cantor",
    "cauchy",
    "celsius",
    "coulomb",
    "curie",
    "dedekind",
    "dirac",
    "doppler",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "fourier",
    "frege",
    "galois",
    "gauss",
    "germain",
    "goedel",
    "hamming",
    "herschel",
    "hilbert",
    "hopper",
    "hubble",
    "huygens",
    "hypatia",
    "jacobi",
    "joule",
    "kepler",
    "knuth",
    "lagrange",
    "laplace",
    "legendre",
    "lovelace",
    "maxwell",
    "meitner",
    "mendel",
    "minkowski",
    "nash",
    "neumann",
    "newton",
    "noether",
    "ohm",
    "pascal",
    "peano",
    "planck",
    "ramanujan",
    "riemann",
    "shannon",
    "tesla",
    "turing",
    "vega",
    "volta",
    "watt",
    "weyl",
    "wiles",
];

/// A name; from the second attempt on with digits, so that a crowded store still finds one.
pub(crate) fn random(attempt: u32) -> String {
    let name =
        format!("{}_{}", ADJECTIVES[fastrand::usize(..ADJECTIVES.len())], SURNAMES[fastrand::usize(..SURNAMES.len())]);
    match attempt {
        0 => name,
        attempt => format!("{name}{}", fastrand::u64(..10u64.saturating_pow(attempt))),
    }
}

/// Refuses what Docker refuses as a name.
pub(crate) fn check(name: &str) -> crate::Result<()> {
    let bytes = name.as_bytes();
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if (2..=255).contains(&bytes.len()) && bytes[0].is_ascii_alphanumeric() && bytes.iter().all(fits) {
        return Ok(());
    }
    let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    Err(crate::Error::refused(
        crate::Kind::InvalidInput,
        format!("invalid container name `{shown}`, only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_names_are_valid_and_lists_have_no_repetition() {
        for attempt in 0..12 {
            check(&random(attempt)).unwrap();
        }
        assert!(ADJECTIVES.is_sorted_by(|a, b| a < b) && SURNAMES.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn names_are_file_names_and_nothing_else() {
        for name in ["web-1", "a.b_c", "0x", "ab"] {
            check(name).unwrap();
        }
        for name in ["", "a", "../x", "-x", "_x", "a b", "a/b", "a\n", "\u{1b}[0m", "--all", &"x".repeat(5000)] {
            assert!(!check(name).unwrap_err().to_string().contains(['\u{1b}', '\n']), "{name:?}");
        }
    }
}
