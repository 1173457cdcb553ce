//! What is in a directory of the server: as a table, and as objects.

use console::measure_text_width;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use session::Listed;

use crate::{escape, json, units};

/// A longer name pushes its own size and time aside, and not those of all others.
const WIDEST_NAME: usize = 48;

/// One line for each: its name, its size, and when it was last changed, in the time of this place.
pub(crate) fn table(things: &[Listed], zone: &TimeZone) -> String {
    let rows: Vec<[String; 3]> = things.iter().map(|thing| row(thing, zone)).collect();
    let width = |column: usize| rows.iter().map(|row| measure_text_width(&row[column])).max().unwrap_or(0);
    let (name_width, size_width) = (width(0).min(WIDEST_NAME), width(1));
    let lines = rows.iter().map(|[name, size, time]| {
        let padding = " ".repeat(name_width.saturating_sub(measure_text_width(name)));
        format!("{name}{padding}   {size:>size_width$}   {time}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn row(thing: &Listed, zone: &TimeZone) -> [String; 3] {
    let name = escape::name(&thing.name);
    let time = timestamp(thing).map_or_else(
        || "-".to_owned(),
        |time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
    );
    if thing.is_directory { [name + "/", "-".to_owned(), time] } else { [name, units::size(thing.len), time] }
}

/// One object for each.
pub(crate) fn object(thing: &Listed, peer: &str) -> Value {
    let mut object = json::event("entry");
    object.insert("peer".to_owned(), peer.into());
    json::put_name(&mut object, "name", &thing.name);
    let (kind, len) =
        if thing.is_directory { ("directory", Value::Null) } else { ("file", thing.len.into()) };
    object.insert("kind".to_owned(), kind.into());
    object.insert("bytes".to_owned(), len);
    object.insert("modified".to_owned(), timestamp(thing).map(|time| time.to_string()).into());
    object.insert("mode".to_owned(), format!("{:04o}", thing.mode & 0o7777).into());
    object.into()
}

/// When it was changed, if that is a time that can be written.
fn timestamp(thing: &Listed) -> Option<Timestamp> {
    Timestamp::new(thing.mtime, i32::try_from(thing.mtime_nanos).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(name: &str, len: Option<u64>, mtime: i64) -> Listed {
        Listed {
            name: name.into(),
            is_directory: len.is_none(),
            len: len.unwrap_or(0),
            mode: 0o644,
            mtime,
            mtime_nanos: 5,
        }
    }

    #[test]
    fn columns_are_aligned() {
        let long = "x".repeat(60);
        let things = [
            thing("album", None, 0),
            thing("b\u{1b}[2J.mp3", Some(1_234_567), 1_700_000_000),
            thing("日本.txt", Some(5), i64::MAX),
            thing(&long, Some(0), 0),
        ];
        let table = table(&things[..3], &TimeZone::fixed(jiff::tz::offset(1)));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "album/                -   1970-01-01 01:00");
        assert_eq!(lines[1], "b\\u{1b}[2J.mp3   1.2 MB   2023-11-14 23:13");
        assert_eq!(lines[2], "日本.txt            5 B   -");
        let table = super::table(&things, &TimeZone::UTC);
        assert!(table.ends_with(&format!("{long}      0 B   1970-01-01 00:00")), "{table}");
        assert!(table.lines().next().unwrap().len() < 80, "{table}");
    }

    #[test]
    fn an_entry_has_its_fields() {
        let object = object(&thing("a", Some(7), 0), "nas:1");
        let fields = r#"{"event":"entry","peer":"nas:1","name":"a","kind":"file","bytes":7,"modified":"1970-01-01T00:00:00.000000005Z","mode":"0644"}"#;
        assert_eq!(object.to_string(), fields);
        let object = super::object(&thing("d", None, i64::MIN), "nas:1");
        assert!(object["bytes"].is_null() && object["modified"].is_null() && object["kind"] == "directory");
    }
}
