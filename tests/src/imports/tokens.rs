//! Words and signs of code whose comments and strings are blank already.

/// One of them, with its line (1-based).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
}

impl Token<'_> {
    pub fn is_word(&self) -> bool {
        let first = self.text.bytes().next();
        first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
    }
}

/// Words, numbers, `::`, and every other sign by itself.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(byte) = bytes.get(at) {
        let length = match byte {
            b'\n' => {
                line += 1;
                0
            }
            byte if byte.is_ascii_whitespace() => 0,
            byte if is_part_of_word(*byte) => {
                let word = bytes.iter().skip(at);
                word.take_while(|byte| is_part_of_word(**byte)).count()
            }
            b':' if bytes.get(at + 1) == Some(&b':') => 2,
            _ => 1,
        };
        if length > 0
            && let Some(text) = code.get(at..at + length)
        {
            found.push(Token { text, line });
        }
        at += length.max(1);
    }
    found
}

fn is_part_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
