//! One field of a cron expression: `*`, numbers, names, ranges, steps, and lists of them. Not which days two fields
//! together mean.

/// Characters of a wrong field that are repeated in an error.
const CHARS_SHOWN: usize = 40;
/// Digits of a number: enough for every value and every useful step.
const DIGITS_MAX: usize = 4;

/// The values a field may have, with their names, if they have any; the first name is that of `first`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) name: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

/// The values a field names, as bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    bits: u64,
    /// Such a field counts as not restricted, also with a step.
    pub(super) starts_with_star: bool,
}

impl Range {
    pub(super) const fn of(
        name: &'static str,
        first: u32,
        last: u32,
        names: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            first,
            last,
            names,
        }
    }

    /// A number in range, or a name in any case.
    fn value(&self, text: &str) -> Result<u32, String> {
        let named = (self.first..)
            .zip(self.names)
            .find(|(_, name)| name.eq_ignore_ascii_case(text));
        if let Some((value, _)) = named {
            return Ok(value);
        }
        match number(text) {
            Some(value) if (self.first..=self.last).contains(&value) => Ok(value),
            Some(_) => Err(format!(
                "`{}` is not between {} and {}",
                shown(text),
                self.first,
                self.last
            )),
            None => Err(format!("`{}` is not a value of this field", shown(text))),
        }
    }
}

impl Field {
    pub(super) fn parse(range: Range, text: &str) -> Result<Self, String> {
        let mut bits = 0;
        for item in text.split(',') {
            bits |= parse_item(range, item)?;
        }
        Ok(Self {
            bits,
            starts_with_star: text.starts_with('*'),
        })
    }

    /// Ascending.
    pub(super) fn values(&self) -> impl Iterator<Item = u32> {
        let bits = self.bits;
        (0..u64::BITS).filter(move |value| bits >> value & 1 == 1)
    }
}

/// At most so many characters of what a client sent, without control characters.
pub(super) fn shown(text: &str) -> String {
    let printable = text.chars().filter(|character| !character.is_control());
    printable.take(CHARS_SHOWN).collect()
}

/// One of `*`, `*/2`, `5`, `mon`, `1-5`, `1-31/3`.
fn parse_item(range: Range, item: &str) -> Result<u64, String> {
    let (values, step) = match item.split_once('/') {
        Some((values, step)) => (values, Some(step)),
        None => (item, None),
    };
    let (first, last) = if values == "*" {
        (range.first, range.last)
    } else if let Some((first, last)) = values.split_once('-') {
        let (first, last) = (range.value(first)?, range.value(last)?);
        if first > last {
            return Err(format!("`{}` ends before it starts", shown(values)));
        }
        (first, last)
    } else if step.is_some() {
        return Err(format!(
            "`{}` has a step, which only `*` and ranges may have",
            shown(item)
        ));
    } else {
        let value = range.value(values)?;
        (value, value)
    };
    let step = match step {
        None => 1,
        Some(step) => number(step)
            .filter(|step| *step > 0)
            .ok_or_else(|| format!("`{}` is not a step", shown(step)))?,
    };
    let stepped = (first..=last).step_by(usize::try_from(step).unwrap_or(usize::MAX));
    Ok(stepped.fold(0, |bits, value| bits | 1 << value))
}

/// Digits only: no sign, no space.
fn number(text: &str) -> Option<u32> {
    let is_number = (1..=DIGITS_MAX).contains(&text.len())
        && text.bytes().all(|character| character.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}
