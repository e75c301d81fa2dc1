//! Archives, byte by byte: neither our writer nor the tar crate would write most of them.

use std::ops::Range;

/// An archive that is being made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    /// An archive that begins with a descriptor of one file, `data.bin`.
    pub(crate) fn package() -> Self {
        Self::default().file("vm.ovf", DESCRIPTOR)
    }

    /// A member of any kind, in a POSIX header; `size_bytes` may lie about the body.
    pub(crate) fn member(self, name: &[u8], kind: u8, size_bytes: u64, body: &[u8]) -> Self {
        let size = format!("{size_bytes:011o}\0");
        self.header(name, kind, size.as_bytes(), |_header| ()).raw(body).pad()
    }

    /// A header with a change that the checksum knows of.
    pub(crate) fn header(
        mut self,
        name: &[u8],
        kind: u8,
        size: &[u8],
        change: impl FnOnce(&mut [u8; 512]),
    ) -> Self {
        let mut header = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, name);
        put(100, b"0000644\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, size.get(..12).unwrap_or(size));
        put(136, b"02264044200\0");
        put(156, &[kind]);
        put(257, b"ustar\x0000");
        change(&mut header);
        sum(&mut header);
        self.bytes.extend_from_slice(&header);
        self
    }

    pub(crate) fn file(self, name: &str, body: &[u8]) -> Self {
        self.member(name.as_bytes(), b'0', body.len() as u64, body)
    }

    /// The file that the descriptor names.
    pub(crate) fn data(self) -> Self {
        self.file("data.bin", DATA)
    }

    /// An extended header with records that are made for these keys and values.
    pub(crate) fn pax(self, kind: u8, records: &[(&str, &str)]) -> Self {
        let body: String = records.iter().map(|(key, value)| record(key, value)).collect();
        self.pax_of(kind, body.as_bytes())
    }

    /// An extended header with this body.
    pub(crate) fn pax_of(self, kind: u8, body: &[u8]) -> Self {
        self.member(b"PaxHeader/data.bin", kind, body.len() as u64, body)
    }

    /// A GNU header with a long name.
    pub(crate) fn long_name(self, kind: u8, name: &[u8]) -> Self {
        let size = format!("{:011o}\0", name.len());
        self.header(b"././@LongLink", kind, size.as_bytes(), |header| {
            header[MAGIC].copy_from_slice(b"ustar  \0");
        })
        .raw(name)
        .pad()
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn pad(mut self) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// With the two blocks that end an archive.
    pub(crate) fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).bytes
    }

    /// As it is.
    pub(crate) fn cut(self) -> Vec<u8> {
        self.bytes
    }
}

/// A record of an extended header: its length counts its own digits.
pub(crate) fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut len = rest.len() + 1;
    while len != rest.len() + len.to_string().len() {
        len += 1;
    }
    format!("{len}{rest}")
}

/// Gives a header the checksum it should have.
fn sum(header: &mut [u8; 512]) {
    header[CHECKSUM].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Gives every block that looks like a header the checksum it should have.
pub(crate) fn mend(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(512) {
        if let Ok(header) = <&mut [u8; 512]>::try_from(block)
            && (header[MAGIC].starts_with(b"ustar") || header[CHECKSUM].ends_with(b"\0 "))
        {
            sum(header);
        }
    }
}

/// What a descriptor looks like that names one file.
pub(crate) const DESCRIPTOR: &[u8] = br#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References><File ovf:id="file1" ovf:href="data.bin"/></References>
  <VirtualSystem ovf:id="vm"><Info>A machine</Info></VirtualSystem>
</Envelope>
"#;

/// What the file holds.
pub(crate) const DATA: &[u8] = &[7; 700];

const CHECKSUM: Range<usize> = 148..156;
pub(crate) const MAGIC: Range<usize> = 257..265;
