//! Finding the end of a chunked body (RFC 9112, 7.1). The data is thrown away.

/// What comes next in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Digits of a chunk's size; false until there is one.
    Size(bool),
    /// What may follow the size on its line: extensions, which mean nothing here.
    Extension,
    /// The LF that ends the size's line.
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    /// After the last chunk: the first byte of a trailer field, or of the empty line.
    Trailer,
    TrailerField,
    End,
}

/// A chunked body that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked {
    part: Part,
    /// The size of the chunk, and then what is left of it.
    left: u64,
}

/// Where the body ends in what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Not yet.
    None,
    /// After so many bytes.
    After(usize),
    /// It is not chunked.
    Malformed,
}

impl Chunked {
    pub(super) fn new() -> Chunked {
        Chunked { part: Part::Size(false), left: 0 }
    }

    pub(super) fn read(&mut self, input: &[u8]) -> End {
        let mut at = 0;
        while at < input.len() {
            if self.part == Part::Data {
                let here = self.left.min((input.len() - at) as u64);
                self.left -= here;
                at += here as usize;
                if self.left == 0 {
                    self.part = Part::DataReturn;
                }
                continue;
            }
            let byte = input[at];
            at += 1;
            self.part = match (self.part, byte) {
                (Part::Size(_), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                    if self.left >> 60 != 0 {
                        return End::Malformed;
                    }
                    let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                    self.left = self.left * 16 + digit;
                    Part::Size(true)
                }
                (Part::Size(true) | Part::Extension, b'\r') => Part::SizeEnd,
                (Part::Size(true), b';' | b' ' | b'\t') => Part::Extension,
                (Part::Extension, byte) if byte != b'\n' => Part::Extension,
                (Part::SizeEnd, b'\n') if self.left == 0 => Part::Trailer,
                (Part::SizeEnd, b'\n') => Part::Data,
                (Part::DataReturn, b'\r') => Part::DataEnd,
                (Part::DataEnd, b'\n') => Part::Size(false),
                (Part::Trailer, b'\r') => Part::End,
                (Part::TrailerField, b'\n') => Part::Trailer,
                (Part::Trailer, byte) if byte != b'\n' => Part::TrailerField,
                (Part::TrailerField, _) => Part::TrailerField,
                (Part::End, b'\n') => return End::After(at),
                _ => return End::Malformed,
            };
        }
        End::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_however_the_body_is_cut() {
        let body = b"5\r\nhello\r\n1A;name=\"value\"\r\nabcdefghijklmnopqrstuvwxyz\r\n000\r\nTrailer: 1\r\nx: y\r\n\r\nHTTP";
        let end = body.len() - 4;
        assert_eq!(Chunked::new().read(body), End::After(end));
        for cut in 0..end {
            let mut chunked = Chunked::new();
            assert_eq!(chunked.read(&body[..cut]), End::None, "{cut}");
            assert_eq!(chunked.read(&body[cut..]), End::After(end - cut), "{cut}");
        }
        let mut chunked = Chunked::new();
        for byte in &body[..end - 1] {
            assert_eq!(chunked.read(&[*byte]), End::None);
        }
        assert_eq!(chunked.read(b"\n"), End::After(1));
    }

    #[test]
    fn what_is_not_chunked_is_refused() {
        for body in [
            &b"hello"[..],
            b"\r\n",
            b"5\nhello",
            b";x\r\n",
            b"5\r\nhello!",
            b"11111111111111111\r\n",
            b"0\r\n\n",
            b"-1\r\n",
        ] {
            assert_eq!(Chunked::new().read(body), End::Malformed, "{}", String::from_utf8_lossy(body));
        }
    }
}
