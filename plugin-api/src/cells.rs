//! Packs database values into one byte string, so that thousands of rows cross the boundary as one buffer.
//!
//! A cell is a tag byte (0 null, 1 integer, 2 real, 3 text, 4 bytes), then 8 little-endian bytes for the numbers, or a
//! 4-byte little-endian length and the bytes for text and bytes. Nothing else is in the buffer.

use crate::wire::Cell;

/// The bytes are not packed cells: a defect of whoever sent them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// The buffer was cut.
    #[error("the packed cells end in the middle of a value")]
    Truncated,
    /// A tag above 4.
    #[error("unknown cell tag {0}")]
    UnknownTag(u8),
    /// Tag 3 with bytes that are not UTF-8.
    #[error("a text cell is not UTF-8")]
    NotText,
}

/// The cells one behind the other; no count, no separators.
pub fn pack(cells: &[Cell]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(cells.len() * 12);
    for cell in cells {
        push(&mut packed, cell);
    }
    packed
}

/// Appends one cell.
pub fn push(packed: &mut Vec<u8>, cell: &Cell) {
    match cell {
        Cell::Null => packed.push(0),
        Cell::Integer(value) => {
            packed.push(1);
            packed.extend_from_slice(&value.to_le_bytes());
        }
        Cell::Real(value) => {
            packed.push(2);
            packed.extend_from_slice(&value.to_le_bytes());
        }
        Cell::Text(text) => push_bytes(packed, 3, text.as_bytes()),
        Cell::Bytes(bytes) => push_bytes(packed, 4, bytes),
    }
}

/// The cells of a whole buffer. Any bytes are safe to give it.
pub fn unpack(mut packed: &[u8]) -> Result<Vec<Cell>, CellError> {
    let mut cells = Vec::new();
    while let Some((tag, rest)) = packed.split_first() {
        packed = rest;
        cells.push(match tag {
            0 => Cell::Null,
            1 => Cell::Integer(i64::from_le_bytes(take_array(&mut packed)?)),
            2 => Cell::Real(f64::from_le_bytes(take_array(&mut packed)?)),
            3 => {
                let bytes = take_bytes(&mut packed)?.to_vec();
                Cell::Text(String::from_utf8(bytes).map_err(|_| CellError::NotText)?)
            }
            4 => Cell::Bytes(take_bytes(&mut packed)?.to_vec()),
            other => return Err(CellError::UnknownTag(*other)),
        });
    }
    Ok(cells)
}

/// A value longer than 4 GiB is cut, but nothing that long passes the limits of a request or a read.
fn push_bytes(packed: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    packed.push(tag);
    packed.extend_from_slice(&length.to_le_bytes());
    packed.extend_from_slice(bytes.get(..length as usize).unwrap_or(bytes));
}

fn take_array<const N: usize>(packed: &mut &[u8]) -> Result<[u8; N], CellError> {
    let (head, rest) = packed
        .split_first_chunk::<N>()
        .ok_or(CellError::Truncated)?;
    *packed = rest;
    Ok(*head)
}

fn take_bytes<'a>(packed: &mut &'a [u8]) -> Result<&'a [u8], CellError> {
    let length = u32::from_le_bytes(take_array(packed)?) as usize;
    let (bytes, rest) = packed
        .split_at_checked(length)
        .ok_or(CellError::Truncated)?;
    *packed = rest;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_cell() -> impl Strategy<Value = Cell> {
        prop_oneof![
            Just(Cell::Null),
            any::<i64>().prop_map(Cell::Integer),
            (-1e300..1e300).prop_map(Cell::Real),
            ".{0,20}".prop_map(Cell::Text),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Cell::Bytes),
        ]
    }

    proptest! {
        #[test]
        fn packed_cells_come_back_unchanged(cells in proptest::collection::vec(any_cell(), 0..30)) {
            prop_assert_eq!(unpack(&pack(&cells)).unwrap(), cells);
        }

        #[test]
        fn any_bytes_are_cells_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn a_cut_buffer_is_an_error() {
        let packed = pack(&[Cell::Text("abc".to_owned())]);
        for end in 1..packed.len() {
            assert_eq!(unpack(&packed[..end]), Err(CellError::Truncated));
        }
        assert_eq!(unpack(&[9]), Err(CellError::UnknownTag(9)));
    }
}
