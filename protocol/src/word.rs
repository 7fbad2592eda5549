//! Words of lists that may be longer on the other side: two programs of different ages talk to each other, and a word that
//! only one of them knows must not end the conversation. It is kept as text, and each reader says what it does with it.
//!
//! A list that is closed inside (operation types, streams) is read as [`Open`]; one that is only ever reported carries an
//! `Unknown(Word)` of its own.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::limits::WORD_BYTES_MAX;

/// A word as the other side wrote it, short and harmless whatever that was: cut to
/// [`WORD_BYTES_MAX`] bytes, and a `?` for each byte that no word of this protocol has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word {
    bytes: [u8; WORD_BYTES_MAX],
    length: u8,
}

impl Word {
    pub fn of(text: &str) -> Self {
        let mut word = Self {
            bytes: [0; WORD_BYTES_MAX],
            length: 0,
        };
        for (place, byte) in word.bytes.iter_mut().zip(text.bytes()) {
            let is_ours = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            *place = if is_ours { byte } else { b'?' };
            word.length += 1;
        }
        word
    }

    pub fn as_str(&self) -> &str {
        let (text, _) = self.bytes.split_at(usize::from(self.length));
        // Only ASCII was put there.
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Display for Word {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.as_str())
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Word;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a word")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
                Ok(Word::of(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A value of a closed list, or a word that is not on it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Open<T> {
    Known(T),
    Unknown(Word),
}

impl<T> Open<T> {
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    pub fn unknown(&self) -> Option<Word> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(word) => Some(*word),
        }
    }
}

impl<T> From<T> for Open<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: PartialEq> PartialEq<T> for Open<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(value) if value == other)
    }
}

impl<T: Serialize> Serialize for Open<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(value) => value.serialize(serializer),
            Self::Unknown(word) => word.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Open<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Text<T> {
            type Value = Open<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a word")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Open<T>, E> {
                let known: Result<T, NotKnown> = T::deserialize(text.into_deserializer());
                Ok(known.map_or_else(|_| Open::Unknown(Word::of(text)), Open::Known))
            }
        }
        deserializer.deserialize_str(Text(std::marker::PhantomData))
    }
}

/// That a word is not on a list. Without a sentence: a frame may be full of such words, and nobody reads it.
#[derive(Debug)]
struct NotKnown;

impl fmt::Display for NotKnown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not known")
    }
}

impl std::error::Error for NotKnown {}

impl de::Error for NotKnown {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::OperationType;
    use crate::outcome::FailureReason;

    fn read(json: &str) -> Open<OperationType> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_word_that_is_known_is_known_and_another_is_kept() {
        assert_eq!(read(r#""reboot""#), OperationType::Reboot);
        assert_eq!(read(r#""dance""#), Open::Unknown(Word::of("dance")));
        // Escaped in JSON, so that it cannot be borrowed.
        assert_eq!(read(r#""re\u0062oot""#), OperationType::Reboot);
        let reason: FailureReason = serde_json::from_str(r#""oom_killed""#).unwrap();
        assert_eq!(reason, FailureReason::Unknown(Word::of("oom_killed")));
        let reason: FailureReason = serde_json::from_str(r#""timed_out""#).unwrap();
        assert_eq!(reason, FailureReason::TimedOut);
    }

    #[test]
    fn what_is_no_word_is_refused() {
        for json in ["1", "null", "{}", r#"["reboot"]"#, "true"] {
            assert!(
                serde_json::from_str::<Open<OperationType>>(json).is_err(),
                "{json}"
            );
            assert!(
                serde_json::from_str::<FailureReason>(json).is_err(),
                "{json}"
            );
        }
    }

    #[test]
    fn a_kept_word_is_short_and_harmless_and_written_as_it_is_read() {
        let long = "x".repeat(1_000);
        for (said, kept) in [
            ("dance", "dance"),
            ("\u{1b}[31m", "??31m"),
            ("à", "??"),
            ("", ""),
            (long.as_str(), &long[..WORD_BYTES_MAX]),
        ] {
            let open = read(&serde_json::to_string(said).unwrap());
            assert_eq!(open, Open::Unknown(Word::of(kept)));
            assert_eq!(Word::of(said).as_str(), kept);
            let written = serde_json::to_string(&open).unwrap();
            assert_eq!(written, format!("\"{kept}\""));
            assert_eq!(read(&written), open);
        }
    }

    /// Otherwise an unknown word, once cut, could be read as a known one.
    #[test]
    fn every_known_word_is_shorter_than_what_is_kept() {
        for kind in OperationType::ALL {
            assert!(kind.as_str().len() < WORD_BYTES_MAX);
        }
    }
}
