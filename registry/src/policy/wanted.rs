//! A signature that is looked for, and how near those came that were seen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mica_engine::Reference;
use mica_layer::Digest;

use super::key::Key;
use super::payload::Payload;
use super::requirement::{KeySource, Sigstore};
use super::strict::shown;
use crate::config::text;

/// A `sigstoreSigned` that nothing has met yet.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    sigstore: &'a Sigstore,
    keys: Vec<(&'a KeySource, Key)>,
    /// The nearest miss.
    nearest: Miss,
}

/// Why a signature does not count, the worst first. What is repeated of one is what its key has signed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Miss {
    /// There is none.
    Unsigned,
    /// There is one that none of the keys made.
    OtherKey,
    /// One that a key made, in a form that is not known.
    Strange(String),
    /// For other bytes.
    OtherDigest(Digest),
    /// For an image of another name.
    OtherName(String),
}

impl<'a> Wanted<'a> {
    /// Loads the keys; all of them have to be there. The error is a reason.
    pub(super) fn load(sigstore: &'a Sigstore) -> Result<Wanted<'a>, String> {
        let load = |source: &'a KeySource| {
            let key = match source {
                KeySource::Data(pem) => Key::from_pem(pem),
                KeySource::Path(path) => {
                    let pem = text::read(path).map_err(|error| with_causes(&error))?;
                    let pem = pem.ok_or_else(|| format!("there is no {source}"))?;
                    Key::from_pem(pem.as_bytes())
                }
            };
            key.map(|key| (source, key)).map_err(|reason| format!("cannot use {source}: {reason}"))
        };
        let keys = sigstore.keys.iter().map(load).collect::<Result<_, _>>()?;
        Ok(Wanted { sigstore, keys, nearest: Miss::Unsigned })
    }

    /// True when this is the signature that is looked for: by one of the keys, for one of the digests, and for that name.
    pub(super) fn is_met_by(&mut self, payload: &[u8], signature: &str, digests: &[Digest], image: &Reference) -> bool {
        let miss = match self.judge(payload, signature, digests, image) {
            Ok(()) => return true,
            Err(miss) => miss,
        };
        if miss > self.nearest {
            self.nearest = miss;
        }
        false
    }

    fn judge(&self, payload: &[u8], signature: &str, digests: &[Digest], image: &Reference) -> Result<(), Miss> {
        let signature = BASE64.decode(signature).map_err(|_| Miss::OtherKey)?;
        if !self.keys.iter().any(|(_, key)| key.signed(payload, &signature)) {
            return Err(Miss::OtherKey);
        }
        let Payload { digest, reference } = Payload::parse(payload).map_err(Miss::Strange)?;
        if !digests.contains(&digest) {
            return Err(Miss::OtherDigest(digest));
        }
        if self.sigstore.identity.fits(image, &reference) { Ok(()) } else { Err(Miss::OtherName(reference)) }
    }

    /// What is missing, in words.
    pub(super) fn missing(&self) -> String {
        let keys: Vec<String> = self.sigstore.keys.iter().map(ToString::to_string).collect();
        let keys = keys.join(" or ");
        match &self.nearest {
            Miss::Unsigned => format!("no signature by {keys} was found"),
            Miss::OtherKey => format!("no signature by {keys} was found, only others"),
            Miss::Strange(reason) => format!("the signature by {keys} is of a kind that is not known: {reason}"),
            Miss::OtherDigest(digest) => format!("the signature by {keys} is for `{digest}`, which is another image"),
            Miss::OtherName(name) => format!(
                "the signature by {keys} is for `{}`, which `{}` does not admit",
                shown(name),
                self.sigstore.identity.name()
            ),
        }
    }

    /// What to do about it, where that is known.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        let Miss::OtherName(name) = &self.nearest else { return None };
        let signed = Reference::parse_name(name).ok()?;
        let is_bare = signed.tag().is_none() && signed.digest().is_none();
        (is_bare && self.sigstore.identity.wants_tag()).then_some(
            "cosign signs names without tags: `\"signedIdentity\": {\"type\": \"matchRepository\"}` admits them, whatever the tag",
        )
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
