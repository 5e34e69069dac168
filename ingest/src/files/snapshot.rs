//! A file as it was at one moment: hashed, unpacked and checked to its end before the
//! first row is taken, so that nothing of a damaged file is half-taken and a file that
//! changes while it is read does no harm.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, Write};
use std::path::Path;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use tempfile::{SpooledData, SpooledTempFile};

use crate::connector::ConnectorError;

/// Files up to this size stay in memory.
const IN_MEMORY_BYTES: usize = 32 * 1024 * 1024;
/// Of a damaged file this much is kept with the reason; the log cuts it further.
const KEPT_BYTES: u64 = 8 * 1024 * 1024;

/// What taking a snapshot gave.
pub(super) enum Taken {
    Whole(Snapshot),
    Damaged { hash: String, reason: String, head: Bytes },
}

/// The unpacked content of a file.
pub(super) struct Snapshot {
    /// BLAKE3 of the file as it lies there, hex.
    pub(super) hash: String,
    body: Body,
}

enum Body {
    Memory(Bytes),
    Disk(File),
}

impl Snapshot {
    pub(super) fn take(path: &Path, max_unpacked_bytes: u64) -> Result<Taken, ConnectorError> {
        let shown = path.display().to_string();
        let failed = |doing| {
            let place = shown.clone();
            move |source| ConnectorError::Io { doing, place, source }
        };
        let mut packed =
            Hashing { inner: File::open(path).map_err(failed("open"))?, hasher: blake3::Hasher::new(), broken: false };
        let mut start = Vec::with_capacity(2);
        (&mut packed).take(2).read_to_end(&mut start).map_err(failed("read"))?;
        let is_gzip = start == [0x1f, 0x8b];
        let named_gzip = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
        let mut spool = SpooledTempFile::new(IN_MEMORY_BYTES);
        let whole = Cursor::new(start).chain(&mut packed);
        let problem = if is_gzip {
            copy(&mut MultiGzDecoder::new(whole), &mut spool, max_unpacked_bytes)
        } else {
            copy(&mut { whole }, &mut spool, max_unpacked_bytes)
        };
        let problem = match problem {
            Ok(()) if named_gzip && !is_gzip => Some("it is named .gz but is not a gzip stream".to_owned()),
            Ok(()) => None,
            Err(Fault::Spool(source)) => {
                return Err(ConnectorError::Io { doing: "unpack into a temporary file", place: shown, source });
            }
            Err(Fault::Read(source)) if packed.broken || !is_gzip => {
                return Err(ConnectorError::Io { doing: "read", place: shown, source });
            }
            Err(Fault::Read(source)) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Some("its gzip stream breaks off before its end (the file is truncated)".to_owned())
            }
            Err(Fault::Read(source)) => Some(format!("its gzip stream is damaged ({source})")),
            Err(Fault::TooMuch) => Some(format!(
                "it unpacks to more than files.max_unpacked_bytes = {max_unpacked_bytes}; split it or raise the limit"
            )),
        };
        // The hash is of the whole file, also where unpacking gave up early.
        io::copy(&mut packed, &mut io::sink()).map_err(failed("read"))?;
        let hash = packed.hasher.finalize().to_hex().to_string();
        if let Some(problem) = problem {
            let mut head = Vec::new();
            File::open(path).and_then(|file| file.take(KEPT_BYTES).read_to_end(&mut head)).map_err(failed("read"))?;
            let reason = format!("file {} is set aside whole: {problem}; send it again", name_of(path));
            return Ok(Taken::Damaged { hash, reason, head: head.into() });
        }
        let body = match spool.into_inner() {
            SpooledData::InMemory(bytes) => Body::Memory(bytes.into_inner().into()),
            SpooledData::OnDisk(file) => Body::Disk(file),
        };
        Ok(Taken::Whole(Self { hash, body }))
    }

    /// The content from its start.
    pub(super) fn reader(&mut self) -> io::Result<Box<dyn Read + Send + Sync>> {
        Ok(match &mut self.body {
            Body::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
            Body::Disk(file) => {
                file.rewind()?;
                Box::new(file.try_clone()?)
            }
        })
    }

    /// The whole content in memory, for formats that cannot be read piece by piece.
    pub(super) fn bytes(&mut self, most: u64) -> io::Result<Option<Bytes>> {
        match &mut self.body {
            Body::Memory(bytes) => Ok(Some(bytes.clone())),
            Body::Disk(file) => {
                if file.metadata()?.len() > most {
                    return Ok(None);
                }
                file.rewind()?;
                let mut all = Vec::new();
                file.read_to_end(&mut all)?;
                Ok(Some(all.into()))
            }
        }
    }

    /// Replaces the content by `text`.
    pub(super) fn replace(&mut self, text: Bytes) {
        self.body = Body::Memory(text);
    }
}

/// The file's own name.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

enum Fault {
    Read(io::Error),
    Spool(io::Error),
    TooMuch,
}

fn copy(from: &mut dyn Read, to: &mut SpooledTempFile, most: u64) -> Result<(), Fault> {
    let mut block = vec![0; 128 * 1024];
    let mut copied = 0_u64;
    loop {
        let n = match from.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Fault::Read(e)),
        };
        copied += n as u64;
        if copied > most {
            return Err(Fault::TooMuch);
        }
        to.write_all(&block[..n]).map_err(Fault::Spool)?;
    }
}

/// Hashes what is read, and remembers whether reading itself failed.
struct Hashing {
    inner: File,
    hasher: blake3::Hasher,
    broken: bool,
}

impl Read for Hashing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(into) {
            Ok(n) => {
                self.hasher.update(&into[..n]);
                Ok(n)
            }
            Err(e) => {
                self.broken |= e.kind() != io::ErrorKind::Interrupted;
                Err(e)
            }
        }
    }
}
