//! Content digests and the identities built from them: [`Digest`], [`DiffId`], [`ChainId`].
//!
//! A `Digest` that exists is valid, so it may be used as a file name without a second look. That is why parsing is
//! strict: `sha256:../../etc` (CVE-2024-3727, CVE-2014-9357) must fail here and nowhere later.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::Error;

/// A validated content digest: `sha256:` and 64 lower-case hexadecimal digits, or `sha512:` and 128.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Box<str>);

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn sha256_of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm this digest was made with.
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with("sha512:") { Algorithm::Sha512 } else { Algorithm::Sha256 }
    }

    /// The hexadecimal part, safe as a file name.
    pub fn hex(&self) -> &str {
        &self.0[self.algorithm().name().len() + 1..]
    }

    /// The first twelve hexadecimal digits, as listings show them.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// The whole digest, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest, Error> {
        let refuse = |reason| {
            let text = text.chars().take(150).flat_map(char::escape_debug).collect();
            Err(Error::InvalidDigest { text, reason })
        };
        let Some((algorithm, hex)) = text.split_once(':') else {
            return refuse("it has no `algorithm:` in front");
        };
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return refuse("the algorithm is neither sha256 nor sha512"),
        };
        if hex.len() != length {
            return refuse("the hexadecimal part has the wrong length");
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return refuse("it contains something else than lower-case hexadecimal digits");
        }
        Ok(Digest(text.into()))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Digest, Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0.into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digest algorithms the image specification registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-256, what everyone uses.
    Sha256,
    /// SHA-512, allowed and rare.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }
}

/// A digest being computed; bytes come in through [`Hasher::update`] or [`io::Write`].
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// A SHA-256 digest of nothing yet.
    pub fn new() -> Hasher {
        Hasher::with(Algorithm::Sha256)
    }

    /// A digest of nothing yet, by the given algorithm.
    pub fn with(algorithm: Algorithm) -> Hasher {
        Hasher(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Takes in more content.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(s) => s.update(bytes),
            State::Sha512(s) => s.update(bytes),
        }
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(s) => text(Algorithm::Sha256, &s.finalize()),
            State::Sha512(s) => text(Algorithm::Sha512, &s.finalize()),
        }
    }
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher::new()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The digest of a layer's uncompressed archive: the identity of one layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

/// The identity of a stack of layers, as the image specification defines it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl ChainId {
    /// The identity of the whole stack, base layer first; nothing for an empty stack.
    pub fn of(diff_ids: &[DiffId]) -> Option<ChainId> {
        diff_ids.iter().fold(None, |parent, diff_id| Some(ChainId::next(parent.as_ref(), diff_id)))
    }

    /// The identity of `parent` with one more layer on top.
    pub fn next(parent: Option<&ChainId>, diff_id: &DiffId) -> ChainId {
        match parent {
            None => ChainId(diff_id.0.clone()),
            Some(parent) => ChainId(Digest::sha256_of(format!("{parent} {diff_id}").as_bytes())),
        }
    }

    /// The identities of every prefix of the stack, the base layer alone first.
    pub fn chain(diff_ids: &[DiffId]) -> Vec<ChainId> {
        let mut chain: Vec<ChainId> = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            chain.push(ChainId::next(chain.last(), diff_id));
        }
        chain
    }
}

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DiffId {
    type Err = Error;

    fn from_str(text: &str) -> Result<DiffId, Error> {
        text.parse().map(DiffId)
    }
}

impl FromStr for ChainId {
    type Err = Error;

    fn from_str(text: &str) -> Result<ChainId, Error> {
        text.parse().map(ChainId)
    }
}

fn text(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(algorithm.name().len() + 1 + 2 * bytes.len());
    text.push_str(algorithm.name());
    text.push(':');
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    Digest(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_that_are_not_digests_are_refused() {
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        let long = format!("{EMPTY}0");
        let sha512_short = EMPTY.replace("sha256", "sha512");
        let slash = format!("sha256:../{}", &EMPTY[10..]);
        for text in [
            "",
            ":",
            "sha256",
            "sha256:",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "../x:abc",
            "sha256:../../etc/passwd",
            &EMPTY[..70],
            &upper,
            &long,
            &sha512_short,
            &slash,
            &EMPTY[7..],
            &format!(" {EMPTY}"),
            &format!("{EMPTY}\n"),
        ] {
            assert!(matches!(text.parse::<Digest>(), Err(Error::InvalidDigest { .. })), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_bad_digest_is_shown_without_control_characters() {
        let message = "sha256:\u{1b}[31m".parse::<Digest>().unwrap_err().to_string();
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }

    #[test]
    fn digest_of_bytes_and_its_parts() {
        let digest = Digest::sha256_of(b"");
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(digest.hex(), &EMPTY[7..]);
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert_eq!(digest.algorithm(), Algorithm::Sha256);
        let mut sha512 = Hasher::with(Algorithm::Sha512);
        sha512.update(b"abc");
        let sha512 = sha512.finish();
        assert!(sha512.as_str().starts_with("sha512:ddaf35a193617abacc417349ae204131"));
        assert_eq!(sha512.hex().len(), 128);
        assert_eq!(sha512.as_str().parse::<Digest>().unwrap(), sha512);
    }

    #[test]
    fn chain_ids_follow_the_image_specification() {
        let a = DiffId(Digest::sha256_of(b"a"));
        let b = DiffId(Digest::sha256_of(b"b"));
        let c = DiffId(Digest::sha256_of(b"c"));
        let ab = Digest::sha256_of(format!("{a} {b}").as_bytes());
        let abc = Digest::sha256_of(format!("{ab} {c}").as_bytes());
        assert_eq!(ChainId::of(&[]), None);
        let ids = [a.clone(), b, c];
        assert_eq!(ChainId::of(&ids), Some(ChainId(abc.clone())));
        assert_eq!(ChainId::chain(&ids), [ChainId(a.0), ChainId(ab), ChainId(abc)]);
    }
}
