//! Times as clients see them: RFC 3339, UTC, milliseconds.

use std::borrow::Cow;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Microseconds since the Unix epoch, written as `2026-01-31T12:00:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl std::fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let milliseconds = self.0.div_euclid(1_000);
        match jiff::Timestamp::from_millisecond(milliseconds) {
            Ok(time) => write!(formatter, "{time:.3}"),
            // Outside the years that RFC 3339 can write: only a damaged row holds such a time.
            Err(_) => formatter.write_str("9999-12-30T00:00:00.000Z"),
        }
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        jiff::Timestamp::from_str(text).map(|time| Self(time.as_microsecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| de::Error::custom("expected a time such as 2026-01-31T12:00:00Z"))
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        assert_eq!(
            Timestamp(1_769_860_800_123_456).to_string(),
            "2026-01-31T12:00:00.123Z"
        );
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(
            Timestamp(1_767_225_600_050_999).to_string(),
            "2026-01-01T00:00:00.050Z"
        );
        assert_eq!(Timestamp(i64::MAX).to_string(), "9999-12-30T00:00:00.000Z");
    }

    #[test]
    fn any_offset_is_read_and_nonsense_is_not() {
        let read: Timestamp = "2026-01-31T13:00:00+01:00".parse().expect("a time");
        assert_eq!(read, Timestamp(1_769_860_800_000_000));
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
