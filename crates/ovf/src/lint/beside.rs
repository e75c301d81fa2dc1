//! The files beside a descriptor, as far as they are known.

use std::collections::HashMap;

/// The files beside a descriptor: some mistakes can be told only with them.
///
/// ```
/// use ovftransfer_ovf::lint::Code;
/// use ovftransfer_ovf::lint::FilesBeside;
/// use ovftransfer_ovf::lint::lint_with;
///
/// let text = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
///                         xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
///                 <References><File ovf:id="f" ovf:href="a.iso" ovf:size="7"/></References>
///                 <VirtualSystem ovf:id="vm"><Info/></VirtualSystem></Envelope>"#;
/// let mut files = FilesBeside::default();
/// files.add("a.iso", 6);
/// assert!(lint_with(text.as_bytes(), &files).has(Code::FileSizeDiffers));
/// ```
#[derive(Clone, Debug, Default)]
pub struct FilesBeside {
    by_name: HashMap<String, FileBeside>,
    is_complete: bool,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileBeside {
    pub(super) size_bytes: u64,
    /// It is a VMDK that holds only the difference to another one.
    pub(super) is_delta: bool,
}

impl FilesBeside {
    /// Adds a file by its path, from the descriptor's folder and with `/`, and its size in bytes.
    pub fn add(&mut self, path: impl Into<String>, size_bytes: u64) {
        self.by_name.insert(path.into(), FileBeside { size_bytes, is_delta: false });
    }

    /// Tells how a file that was added begins: the first few KiB of it.
    ///
    /// A VMDK has its own descriptor there, which says whether it needs a parent.
    pub fn add_start(&mut self, path: &str, start: &[u8]) {
        if let Some(file) = self.by_name.get_mut(path) {
            file.is_delta = is_delta(start);
        }
    }

    /// Says that there are no other files: what is missing here, the package lacks.
    pub fn complete(&mut self) {
        self.is_complete = true;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether nothing is known at all: the descriptor stands alone.
    pub(super) fn is_unknown(&self) -> bool {
        self.by_name.is_empty() && !self.is_complete
    }

    /// The file of an href; of a chunked one, its chunks together.
    pub(super) fn find(&self, href: &str, is_chunked: bool) -> Option<FileBeside> {
        let decoded = decode(href);
        let plain = decoded.strip_prefix("./").unwrap_or(&decoded);
        let named = |suffix: &str| {
            let names = [decoded.as_str(), plain, href];
            names.iter().find_map(|name| self.by_name.get(&format!("{name}{suffix}"))).copied()
        };
        if !is_chunked {
            return named("");
        }
        let mut whole = named(".000000000")?;
        for number in 1..CHUNKS_MAX {
            let Some(chunk) = named(&format!(".{number:09}")) else { break };
            whole.size_bytes = whole.size_bytes.saturating_add(chunk.size_bytes);
        }
        Some(whole)
    }
}

/// Whether the start of a file is that of a VMDK with a parent.
fn is_delta(start: &[u8]) -> bool {
    let is_vmdk = start.starts_with(b"KDMV") || start.starts_with(b"# Disk DescriptorFile");
    let key = b"parentCID=";
    let at = start.windows(key.len()).position(|window| window.eq_ignore_ascii_case(key));
    let parent = at.and_then(|at| start.get(at + key.len()..at + key.len() + 8));
    is_vmdk && parent.is_some_and(|parent| !parent.eq_ignore_ascii_case(b"ffffffff"))
}

/// Undoes percent encoding; what is no escape stays.
pub(super) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%');
        let escaped = escaped.and_then(|hex| str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Chunks of a file that are looked for.  Nine digits would allow a thousand million.
const CHUNKS_MAX: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_their_hrefs() {
        let mut files = FilesBeside::default();
        assert!(files.is_unknown());
        files.add("a b.vmdk", 1);
        files.add("c.vmdk.000000000", 10);
        files.add("c.vmdk.000000001", 3);
        let size = |href, chunked| files.find(href, chunked).map(|file| file.size_bytes);
        assert_eq!(size("a%20b.vmdk", false), Some(1));
        assert_eq!(size("./a b.vmdk", false), Some(1));
        assert_eq!(size("a%2", false), None);
        assert_eq!(size("c.vmdk", false), None);
        assert_eq!(size("c.vmdk", true), Some(13));
    }

    #[test]
    fn a_vmdk_says_that_it_has_a_parent() {
        assert!(is_delta(b"# Disk DescriptorFile\nparentCID=fb183e20\n"));
        assert!(is_delta(b"KDMV\0\0\0parentCID=fb183e20"));
        assert!(!is_delta(b"KDMV\0\0\0parentCID=FFFFFFFF"));
        assert!(!is_delta(b"KDMV parentCID="));
        assert!(!is_delta(b"text about parentCID=fb183e20"));
    }
}
