//! `logs`: a container's output again, each stream on its own.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mica_engine::build::Stream;
use mica_engine::ops::logs::LogsRequest;

use crate::args::logs::Logs;
use crate::context::Context;
use crate::{moment, output};

/// `logs`.
pub(super) async fn run(context: &Context, args: &Logs) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let request = LogsRequest {
        follow: args.follow,
        tail: tail(&args.tail)?,
        since: args.since.as_deref().map(|text| moment::parse(text, now)).transpose()?,
        until: args.until.as_deref().map(|text| moment::parse(text, now)).transpose()?,
    };
    let mut reader = context.engine()?.logs(&args.container, request).await?;
    loop {
        let lines = reader.next().await?;
        if lines.is_empty() {
            return Ok(());
        }
        // One write for what one stream said in a row: a system call for each line would be most of the time.
        for said in lines.chunk_by(|one, next| one.stream == next.stream) {
            let mut bytes = Vec::with_capacity(said.iter().map(|line| line.bytes.len() + 40).sum());
            for line in said {
                if args.timestamps {
                    bytes.extend_from_slice(line.time.as_bytes());
                    bytes.push(b' ');
                }
                if args.details {
                    bytes.extend_from_slice(details(&line.attributes).as_bytes());
                }
                bytes.extend_from_slice(&line.bytes);
            }
            match said.first().map(|line| line.stream) {
                Some(Stream::Stderr) => output::raw_error(&bytes)?,
                _ => output::raw(&bytes)?,
            }
        }
    }
}

/// `labels`, `env` and `tag` as Docker writes them, and a space.
fn details(attributes: &BTreeMap<String, String>) -> String {
    let escaped = |text: &str| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
        let one = |byte: u8| match byte {
            b' ' => "+".to_owned(),
            byte if plain(&byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(one).collect::<String>()
    };
    let pairs: Vec<_> = attributes.iter().map(|(key, value)| format!("{}={}", escaped(key), escaped(value))).collect();
    format!("{} ", pairs.join(","))
}

/// A number of lines; `all` and negative numbers are all of them.
fn tail(text: &str) -> anyhow::Result<Option<u64>> {
    match text.parse::<i64>() {
        _ if text == "all" => Ok(None),
        Ok(lines) => Ok(u64::try_from(lines).ok()),
        Err(_) => anyhow::bail!("invalid value `{text}` of `--tail`: expected a number or `all`"),
    }
}

#[cfg(test)]
mod tests {
    use super::{details, tail};

    #[test]
    fn details_are_dockers() {
        let attributes = [("a".to_owned(), "b c".to_owned()), ("tag".to_owned(), "x/y".to_owned())];
        assert_eq!(details(&attributes.into()), "a=b+c,tag=x%2Fy ");
    }

    #[test]
    fn tails() {
        assert_eq!(tail("all").expect("valid"), None);
        assert_eq!(tail("-1").expect("valid"), None);
        assert_eq!(tail("0").expect("valid"), Some(0));
        assert_eq!(tail("12").expect("valid"), Some(12));
        assert!(tail("x").is_err());
    }
}
