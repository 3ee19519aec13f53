//! Socket options that none of our dependencies wrap.

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an option as setsockopt(2) has it. `value` is of the type that the option wants, and plain data.
///
/// # Errors
/// When the kernel does not know the option, does not take the value, or forbids it.
pub fn set<T: Copy>(socket: impl AsFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as the socket is borrowed; the pointer and the length are of a live value,
    // which the kernel copies before it returns, with what it may point to.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), size_of_val(value) as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes that were written to a TCP socket and that its peer has not acknowledged (SIOCOUTQ).
///
/// # Errors
/// When it is no TCP socket that is or was connected.
pub fn unacknowledged(socket: impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as the socket is borrowed; the kernel writes one int through the pointer.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(usize::try_from(bytes).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

/// Reads an option that is a number.
///
/// # Errors
/// When the kernel does not know the option.
pub fn get(socket: impl AsFd, level: i32, option: i32) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    let pointer = std::ptr::from_mut(&mut value).cast();
    // SAFETY: the descriptor is open for as long as the socket is borrowed; the kernel writes at most `length` bytes, which is the
    // size of a live value that may hold any bits.
    let result = unsafe { libc::getsockopt(socket.as_fd().as_raw_fd(), level, option, pointer, &raw mut length) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
