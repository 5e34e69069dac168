//! The embedded log's socket: how other commands append while one process owns the log.
//!
//! The owner [`share`]s its log on a Unix socket in the log's folder, open to its own
//! user only; a guest [`join`]s there and gets a [`Log`] whose appends the owner makes
//! durable before it acknowledges them. What a guest may do is what a guest needs: make
//! a topic, append, ask where a partition ends and how far a group has come. Reading is
//! done from the lake; positions are moved and records removed by the owner alone.
//!
//! When the owner ends, the guest is told [`LogError::Gone`]. What it had been told is
//! durable is durable; the rest it appends again next time, under the same identities.
//!
//! [`Log`]: ahual_schemas::Log
//! [`LogError::Gone`]: ahual_schemas::LogError::Gone

mod guest;
mod owner;
mod wire;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use guest::join;
pub use owner::share;

/// Name of the socket in the log's folder.
pub const SOCKET: &str = "owner.sock";

/// The longest path the kernel takes for a socket, with room for its closing zero.
const PATH_BYTES: usize = 107;

/// A path by which the socket in `folder` can be named to the kernel. Where the plain one
/// is too long it leads through the opened folder, which has to be kept until it was used.
fn address(folder: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let plain = folder.join(SOCKET);
    if plain.as_os_str().as_bytes().len() <= PATH_BYTES {
        return Ok((plain, None));
    }
    let opened = File::open(folder)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd())).join(SOCKET), Some(opened)))
}

#[cfg(test)]
mod tests;
