//! `events`: one line for each, until the time that was asked for or the interrupt key.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mica_engine::events::Event;
use mica_engine::ops::events::EventsRequest;
use serde_json::json;

use crate::args::events::Events;
use crate::context::Context;
use crate::template::{Template, Value};
use crate::{moment, output};

/// `events`.
pub(super) async fn run(context: &Context, args: &Events) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let template = match args.format.as_deref() {
        None | Some("") => None,
        // The keys of JSON are others than those of templates.
        Some("json" | "{{json .}}" | "{{ json . }}") => Some(None),
        Some(text) => Some(Some(Template::parse(&text.replace("\\t", "\t").replace("\\n", "\n"))?)),
    };
    let request = EventsRequest {
        since: args.since.as_deref().map(|text| moment::parse(text, now)).transpose()?,
        until: args.until.as_deref().map(|text| moment::parse(text, now)).transpose()?,
        filters: super::pairs(&args.filters)?,
    };
    let mut stream = context.engine()?.events(request)?;
    while let Some(event) = stream.next().await {
        let event = event?;
        output::line(match &template {
            None => told(&event),
            Some(None) => serde_json::to_string(&event)?,
            Some(Some(template)) => template.render(&Value::from_json(&fields(&event)))?,
        })?;
    }
    Ok(())
}

/// Docker's line for people.
fn told(event: &Event) -> String {
    let time = Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    let time = time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
    let attributes: Vec<String> = event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let attributes = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{time} {} {} {}{attributes}", event.kind, event.action, event.actor.id)
}

/// What a template names.
fn fields(event: &Event) -> serde_json::Value {
    json!({
        "Status": event.status,
        "ID": event.id,
        "From": event.from,
        "Type": event.kind,
        "Action": event.action,
        "Actor": { "ID": event.actor.id, "Attributes": event.actor.attributes },
        "Scope": event.scope,
        "Time": event.time,
        "TimeNano": event.time_nano,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mica_engine::events::Actor;

    #[test]
    fn lines_are_dockers() {
        let mut event = Event::now("container", "die", Actor::named("abc", "web").with("exitCode", 3));
        event.time_nano = 1_700_000_000_123_456_789;
        let line = told(&event);
        assert!(line.ends_with(" container die abc (exitCode=3, name=web)"), "{line}");
        assert!(line.contains(":20.123456789"), "{line}");
    }
}
