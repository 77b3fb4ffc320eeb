//! What a TCP socket still has to send.

use std::os::fd::{AsFd, AsRawFd as _};

use nix::errno::Errno;

/// The bytes in the socket's send queue that the peer has not acknowledged (tcp(7), `SIOCOUTQ`).
///
/// A peer that reads makes this shrink, however slowly; `write` alone does not show it, for the
/// kernel calls a socket writable only once a third of a queue of megabytes is free.
///
/// # Errors
///
/// `EINVAL` for a listening socket, `ENOTTY` for a descriptor that is no socket.
#[expect(unsafe_code, reason = "nix has no safe SIOCOUTQ")]
pub fn unacknowledged(socket: impl AsFd) -> nix::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed; TIOCOUTQ, which SIOCOUTQ is another name
    // of, writes one int to the address that it is given, and `bytes` is one.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    Errno::result(result)?;
    Ok(u32::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_queue_empties_as_the_peer_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged(&sender), Ok(0));

        sender.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(more) = sender.write(&[0; 1 << 16]) {
            sent += more;
        }
        let full = unacknowledged(&sender).unwrap();
        assert!(full > 0);

        let mut rest = vec![0; sent];
        peer.read_exact(&mut rest).unwrap();
        assert!(unacknowledged(&sender).unwrap() < full);
    }

    #[test]
    fn what_is_no_connection_has_no_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(unacknowledged(&listener), Err(Errno::EINVAL));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(unacknowledged(&file), Err(Errno::ENOTTY));
    }
}
