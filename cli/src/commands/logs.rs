//! `logs`: a container's output again, each stream on its own.

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
    while let Some(line) = reader.next().await? {
        let mut bytes = Vec::with_capacity(line.bytes.len() + 40);
        if args.timestamps {
            bytes.extend_from_slice(line.time.as_bytes());
            bytes.push(b' ');
        }
        bytes.extend_from_slice(&line.bytes);
        match line.stream {
            Stream::Stdout => output::raw(&bytes)?,
            Stream::Stderr => output::raw_error(&bytes)?,
        }
    }
    Ok(())
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
    use super::tail;

    #[test]
    fn tails() {
        assert_eq!(tail("all").expect("valid"), None);
        assert_eq!(tail("-1").expect("valid"), None);
        assert_eq!(tail("0").expect("valid"), Some(0));
        assert_eq!(tail("12").expect("valid"), Some(12));
        assert!(tail("x").is_err());
    }
}
